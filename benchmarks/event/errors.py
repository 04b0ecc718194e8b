"""Errors of exact spikes and exact gradients; rewrites benchmarks/results/event_errors.json.

    python -m benchmarks.event.errors --peer-python PEER/bin/python

compares `simulate` and `first_spikes` with the golden files (34-digit arithmetic, see the README
beside them), per ratio of the time constants and kind of parameter, in float64 and float32; and
jaxsnn 0.3.0 with the same files where it can express them, at all ratios: it knows 1 and 2, and
takes others for the nearer of them. Its environment is made by

    python3.11 -m venv PEER && PEER/bin/pip install -r benchmarks/peers/jaxsnn.txt

An error of times is the largest |difference| in units of tau_syn, which is about 1; that of a
gradient the largest |difference| over the largest |entry|. Spikes that are missing or too many
are counted. About five minutes on 2 cores, nearly all of it jaxsnn being compiled; without
``--peer-python`` one minute, and the rows of jaxsnn stay as they are.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.machine import write_results
from flax_snn import event
from flax_snn.dynamics import LIFParameters

FOLDER = Path(__file__).parents[1]
RESULTS = FOLDER / "results" / "event_errors.json"
GOLDEN = FOLDER.parent / "tests" / "golden" / "event"
COMMAND = "python -m benchmarks.event.errors --peer-python PEER/bin/python"
RATIOS = {"0p5": 0.5, "1": 1.0, "2": 2.0, "3": 3.0, "4p7": 4.7}
BUDGET = 80
MOST = 16

KINDS = {
    "W": "weights",
    "D": "delays",
    "time": "input times",
    "theta": "threshold",
    "tau_m": "tau_mem",
    "tau_s": "tau_syn",
    "V_r": "v_reset",
    "V_L": "v_rest",
    "t_ref": "refractory",
}
NEURON = ("theta", "tau_m", "tau_s", "V_r", "V_L", "t_ref")

# Potential, current and ratio of neurons whose next spike jaxsnn is asked for, tau_syn = 1. The
# last would not spike.
CROSSINGS = [
    (1.0, 0.0, 4.0),
    (2.0, 0.0, 5.0),
    (0.5, 0.0, 4.0),
    (1.4, 0.0, 5.0),
    (1.5, 0.0, 5.0),
    (2.4, 0.0, 5.0),
    (3.0, 0.0, 6.0),
    (4.7, 0.0, 8.0),
    (4.0, 0.0, 6.0),
]


def parts(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return networks of a golden file: arguments of the layers, and what should come out."""
    file = dict(np.load(GOLDEN / f"{name}.npz"))
    if name.startswith("neuron"):
        return [_neuron(file, variant) for variant in range(len(file["theta"]))]
    if name.startswith("rec"):
        return [_recurrent(file)]
    return [_feed_forward(file)]


def _neuron(file: dict[str, Any], variant: int) -> tuple[dict[str, Any], dict[str, Any]]:
    row = {name: x[variant : variant + 1] for name, x in file.items()}
    layer = {name: row[name] for name in NEURON} | {"W": row["w"].T, "D": None}
    channels = np.arange(row["t_in"].shape[1])[None]
    golden = {"spikes": row["spikes"][:, None], "factors": row["C"][:, None]}
    golden |= {"time": row["g_t_in"], "layers": [{n: row[f"g_{n}"] for n in NEURON}]}
    golden["layers"][0] |= {"W": row["g_w"].T}
    if row["t_ref"] == 0:
        del golden["layers"][0]["t_ref"]
    question = {"time": row["t_in"], "index": channels, "layers": [layer]}
    return question | {"duration": float(row["T"][0]), "max_spikes": None}, golden


def _recurrent(file: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    layer = {name: file[name] for name in NEURON}
    layer |= {"W": file["W_in"], "D": file["D_in"], "WR": file["W"], "DR": file["D"]}
    grads = {name: file[f"g_{name}"] for name in NEURON if f"g_{name}" in file}
    grads |= {"W": file["g_W_in"], "WR": file["g_W"]}
    if "g_D" in file:
        grads |= {"D": file["g_D_in"], "DR": file["g_D"]}
    question = {"time": file["t_in"][None], "index": file["ch_in"][None], "layers": [layer]}
    golden = {"spikes": file["spikes"][None], "factors": file["C"][None]}
    golden |= {"time": file["g_t_in"][None], "layers": [grads]}
    return question | {"duration": float(file["T"]), "max_spikes": None}, golden


def _feed_forward(file: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    layers, grads = [], []
    for k in (1, 2):
        layer = {n: file[n][k - 1] for n in NEURON if n != "theta"}
        layers.append(layer | {"theta": file[f"theta{k}"], "W": file[f"W{k}"], "D": None})
        own = {n: file[f"g_{n}"][k - 1] for n in NEURON if f"g_{n}" in file}
        grads.append(own | {n: file[f"g_{n}{k}"] for n in ("theta", "W")})
        if f"D{k}" in file:
            layers[-1]["D"] = file[f"D{k}"]
            grads[-1]["D"] = file[f"g_D{k}"]
    most = int(file["max_spikes"])
    question = {"time": file["t_in"], "index": file["ch_in"], "layers": layers}
    question |= {"duration": float(file["T"]), "max_spikes": None if most < 0 else most}
    golden = {"spikes": file["spikes_out"], "factors": file["C"], "time": file["g_t_in"]}
    return question, golden | {"layers": grads}


def answer(question: dict[str, Any], golden: dict[str, Any], method: str) -> tuple[Any, Any, Any]:
    """Return spike times (B, N, R) of the last layer, and gradients: input times, layers."""
    dtype = jnp.result_type(float)
    most = golden["factors"].shape[2]
    factors = np.pad(golden["factors"], ((0, 0), (0, 0), (0, MOST - most)))
    time, layers, factors = jax.tree.map(
        lambda x: jnp.asarray(x, dtype), (question["time"], question["layers"], factors)
    )
    index = jnp.asarray(question["index"], jnp.int32)
    limits = (question["max_spikes"], question["duration"])
    grads, times = _gradient((method, *limits), time, layers, index, factors)
    return times[:, :, :most], *grads


@functools.partial(jax.jit, static_argnums=0)
def _gradient(how: Any, time: Any, layers: Any, index: jax.Array, factors: jax.Array) -> Any:
    """Return the gradients of sum(factors * spike times), and the spike times.

    Compiled once for all files of a kind, which differ in their numbers.
    """

    def loss(time: Any, layers: Any) -> tuple[jax.Array, jax.Array]:
        spikes = event.Spikes(time, index, size=layers[0]["W"].shape[0])
        for layer in layers:
            spikes = _layer(spikes, layer, *how)
        own = jnp.arange(factors.shape[1])[None, :, None] == spikes.index[:, None, :]
        times = jnp.sort(jnp.where(own, spikes.time[:, None, :], jnp.inf), axis=2)
        times = jnp.pad(times, ((0, 0), (0, 0), (0, MOST)), constant_values=jnp.inf)[:, :, :MOST]
        present = jnp.isfinite(times)
        return jnp.sum(jnp.where(present, factors * jnp.where(present, times, 0.0), 0.0)), times

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(time, layers)


def _layer(
    spikes: Any, layer: dict[str, Any], method: str, max_spikes: int | None, duration: float
) -> Any:
    neurons = LIFParameters(
        tau_mem=layer["tau_m"],
        tau_syn=layer["tau_s"],
        threshold=layer["theta"],
        v_rest=layer["V_L"],
        v_reset=layer["V_r"],
        refractory=layer["t_ref"],
    )
    if method == "first_spikes":
        times = event.first_spikes(spikes, layer["W"], neurons, duration=duration, delay=layer["D"])
        return event.from_times(times)
    return event.simulate(
        spikes,
        layer["W"],
        neurons,
        budget=BUDGET,
        max_spikes=max_spikes,
        duration=duration,
        delay=layer["D"],
        recurrent_kernel=layer.get("WR"),
        recurrent_delay=layer.get("DR"),
    )


def compare(name: str, method: str) -> dict[str, Any]:
    """Return the errors of a golden file, those of all its networks together."""
    found: list[dict[str, Any]] = []
    for question, golden in parts(name):
        times, time, layers = answer(question, golden, method)
        errors = time_errors(times, golden["spikes"])
        pairs = [("time", time, golden["time"])]
        for ours, true in zip(layers, golden["layers"], strict=True):
            pairs += [(key, ours[key], value) for key, value in true.items()]
        for key, ours, true in pairs:
            kind = KINDS.get(key, KINDS.get(key[0], key))
            errors[kind] = max(errors.get(kind, 0.0), gradient_error(ours, true))
        found.append(errors)
    keys = [key for errors in found for key in errors]
    return {key: max(errors.get(key, 0) for errors in found) for key in dict.fromkeys(keys)}


def time_errors(times: Any, true: Any) -> dict[str, Any]:
    """Return the largest error of the spike times, and how many spikes are not the same."""
    times, true = np.asarray(times, np.float64), np.asarray(true)
    both = np.isfinite(times) & np.isfinite(true)
    errors = np.abs(np.where(both, times, 0.0) - np.where(both, true, 0.0))
    wrong = int((np.isfinite(times) != np.isfinite(true)).sum())
    return {"spike times": float(errors.max()), "missing or extra": wrong}


def gradient_error(ours: Any, true: Any) -> float:
    ours, true = np.asarray(ours, np.float64), np.asarray(true)
    return float(np.abs(ours - true).max() / np.abs(true).max())


def next_spike(ratio: float, v: float, i: float) -> float | None:
    """Return the time of the next spike in units of tau_syn, threshold 1, by bisection."""
    # In float64 NumPy, for the table of crossings: independent of the solver that is measured.
    times = np.linspace(0.0, 50.0, 500_001)

    def membrane(t: Any) -> Any:
        fast, slow = np.exp(-t), np.exp(-t / ratio)
        kernel = t * fast if ratio == 1 else (slow - fast) / (ratio - 1)
        return v * slow + i * kernel

    above = np.flatnonzero(membrane(times) > 1)
    if not len(above):
        return None
    low, high = times[above[0] - 1], times[above[0]]
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if membrane(middle) < 1 else (low, middle)
    return float(high)


def questions() -> dict[str, Any]:
    """Return what jaxsnn can express of the golden files, with thresholds scaled to 1.

    It has one threshold per layer, no rest potential, no refractory period: weights are divided by
    the threshold of their neuron, potentials are measured from rest.
    """
    networks = {}
    for text in RATIOS:
        networks[f"ff_first_r{text}"] = _question(*parts(f"ff_first_r{text}")[0])
    for text in ("1", "2"):
        for variant in (0, 1):
            case = parts(f"neuron_r{text}")[variant]
            networks[f"neuron_r{text}, variant {variant}"] = _question(*case)
    return {"crossings": CROSSINGS, "networks": networks}


def _question(question: dict[str, Any], golden: dict[str, Any]) -> dict[str, Any]:
    layers, events = [], question["time"].shape[1]
    for layer in question["layers"]:
        height = np.ravel(layer["theta"] - layer["V_L"])
        neurons = len(height)
        most = question["max_spikes"] or golden["factors"].shape[2]
        # A reset to -1000 is how jaxsnn's examples let a neuron spike once.
        low = -1e3 if question["max_spikes"] == 1 else float((layer["V_r"] - layer["V_L"])[0])
        steps = events + neurons * most
        layers.append(
            {
                "kernel": (layer["W"] / height).tolist(),
                "tau_mem": float(np.ravel(layer["tau_m"])[0]),
                "tau_syn": float(np.ravel(layer["tau_s"])[0]),
                "threshold": 1.0,
                "v_reset": low if question["max_spikes"] == 1 else low / float(height[0]),
                "steps": steps,
            }
        )
        events = neurons * most
    return {
        "time": question["time"].tolist(),
        "index": question["index"].tolist(),
        "sources": len(layers[0]["kernel"]),
        "duration": question["duration"],
        "factors": golden["factors"].tolist(),
        "layers": layers,
    }


def ask(python: str) -> dict[str, Any]:
    """Return the errors of jaxsnn."""
    asked = questions()
    script = FOLDER / "peers" / "jaxsnn_ratios.py"
    output = subprocess.run(
        [python, str(script)],
        input=json.dumps(asked),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    answers = json.loads(output)
    crossings = []
    for (ratio, v, i), (time, _) in zip(CROSSINGS, answers["crossings"], strict=True):
        true = next_spike(ratio, v, i)
        crossings.append({"ratio": ratio, "v": v, "i": i, "true": true, "returned": time})
    networks = {}
    for name, methods in answers["networks"].items():
        file, _, variant = name.partition(", variant ")
        question, golden = parts(file)[int(variant or 0)]
        networks[name] = {
            method: _peer_errors(found, question, golden) for method, found in methods.items()
        }
    return {"versions": answers["versions"], "next spike": crossings, "golden": networks}


def _peer_errors(
    found: dict[str, Any], question: dict[str, Any], golden: dict[str, Any]
) -> dict[str, Any]:
    times = np.array(found["spikes"], np.float64)
    errors = time_errors(np.where(np.isnan(times), np.inf, times), golden["spikes"])
    worst = 0.0
    for grad, layer, true in zip(found["grads"], question["layers"], golden["layers"], strict=True):
        scaled = np.array(grad, np.float64) / np.ravel(layer["theta"] - layer["V_L"])
        worst = max(worst, gradient_error(scaled, true["W"]))
    return errors | {"weights": worst}


def ours() -> dict[str, Any]:
    """Return our errors: dtype, function, golden file."""
    files = [f"{kind}_r{text}" for kind in ("neuron", "ff_first", "ff_multi") for text in RATIOS]
    files += ["rec_nodelay_r2", "rec_delay_r1", "rec_delay_r2", "rec_delay_r3"]
    found: dict[str, Any] = {}
    for dtype in ("float64", "float32"):
        with jax.enable_x64(dtype == "float64"):
            rows = {f"simulate, {name}": compare(name, "simulate") for name in files}
            for text in RATIOS:
                name = f"ff_first_r{text}"
                rows[f"first_spikes, {name}"] = compare(name, "first_spikes")
        found[dtype] = rows
        for name, errors in rows.items():
            print(dtype, name, {key: float(f"{x:.1e}") for key, x in errors.items()}, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.event.errors")
    parser.add_argument("--peer-python", help="interpreter of the environment of jaxsnn")
    python = parser.parse_args().peer_python
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    rows = ours()
    peer = ask(python) if python else stored.get("jaxsnn")
    if peer:
        print(json.dumps(peer, indent=1))
    write_results(RESULTS, COMMAND, {"flax_snn": rows, "jaxsnn": peer})


if __name__ == "__main__":
    main()
