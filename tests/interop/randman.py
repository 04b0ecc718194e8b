"""A trained Randman network in other frameworks: the same prediction for every test sample.

    python tests/interop/randman.py --environments DIR

Trains ``python -m train.randman`` with portable neurons, exports it for each peer, runs it there
on all test samples and compares spikes and predictions. Result: randman.json beside this file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from parity import HERE, ROOT, VERSIONS, Worker, time_first

sys.path.insert(0, str(ROOT))

from train.restored.exchange import export_network  # noqa: E402
from train.restored.run import restore  # noqa: E402

PEERS = ("snntorch", "spikingjelly", "norse")
FLAGS = ("--neuron", "portable", "--no-learn-tau", "--no-plots", "--quiet")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--environments", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for network, more in (("recurrent", ()), ("feed-forward", ("--no-recurrent",))):
            run = work / network
            command = [sys.executable, "-m", "train.randman", "--workdir", run, *FLAGS, *more]
            subprocess.run([*command, "--epochs", str(options.epochs)], check=True, cwd=ROOT)
            trained = restore(run)
            test = trained.load_data().test
            x = np.asarray(test.inputs, np.float32)
            ours = np.asarray(trained.evaluate(test).predictions)
            spikes = np.asarray(trained.network.apply({"params": trained.params}, x))
            accuracy = float(np.mean(ours == test.labels))
            for peer in PEERS:
                file = work / f"{peer}.nir"
                export_network(trained, file, VERSIONS[peer])
                worker = Worker(options.environments / "torch", peer, work)
                dt = 1e-4 if peer == "snntorch" else trained.model.slot
                found, error = worker.run(file, time_first(x), dt)
                if error is not None:
                    raise RuntimeError(f"{peer}: {error}")
                theirs = np.moveaxis(found["y"], 0, 1)
                predictions = theirs.sum(axis=1).argmax(axis=-1)
                rows.append(
                    {
                        "peer": VERSIONS[peer],
                        "network": network,
                        "samples": len(x),
                        "test_accuracy": accuracy,
                        "predictions that differ": int((predictions != ours).sum()),
                        "output slots": int(spikes.size),
                        "output spikes that differ": int((theirs != spikes).sum()),
                    }
                )
                print(rows[-1], flush=True)
    (HERE / "randman.json").write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["predictions that differ"] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
