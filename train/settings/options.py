"""Where a run goes, how its samples are read and how it is shown.

None of it changes a number of the result, and none is stored, so that no path of one machine
travels with a checkpoint.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where a run goes, how it is fed and how it is shown."""

    workdir: Path | None = None
    """Directory of the run; by default checkpoints/<task>/<time>, the newest with --resume."""
    resume: bool = False
    """Go on with the run in the directory, exactly as if it had never stopped. Its settings are
    kept; a flag that differs from them is refused, but a larger --epochs extends the run. A
    directory without a run begins one."""
    seeds: str = ""
    """Train once with each of these seeds, such as 0-9 or 0,3,5, side by side, in place of --seed:
    runs in folders seed_0, ... of the directory, and a table of them."""
    together: int = 0
    """Most runs at the same time, of several; 0: as many as this process has cores."""
    overwrite: bool = False
    """Replace the run that the directory already holds."""
    data: Literal["memory", "tfds"] = "memory"
    """Where samples come from: generated in `memory`, or prepared once on disk by `tfds` and
    streamed. The samples, and their order, are the same."""
    data_dir: Path | None = None
    """Folder of the files of a task on recorded data; where tfds keeps prepared data, by default
    $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    feed: Literal["auto", "resident", "streamed"] = "auto"
    """`resident`: the training samples lie on the device and an epoch is one compiled call;
    `streamed`: they come in chunks of batches. `auto`: resident where they fit."""
    chunk: int = 16
    """Batches of a chunk, where they are streamed."""
    time_loop: Literal["auto", "fused", "scan"] = "auto"
    """How networks on time steps run: `fused` in chunks of steps, `scan` step by step, the slower
    reference. The same network, but not bit for bit: resume a run with the loop it began with."""
    devices: int = 0
    """Devices over which each batch is spread, those of all processes together; 0: one of each
    process. --batch-size is that of all of them."""
    model_devices: int = 1
    """Devices among them over which the neurons of wide layers are spread: batches are spread over
    --devices / --model-devices."""
    coordinator: str = ""
    """Of several processes: HOST:PORT at which process 0 can be reached, the same in all."""
    processes: int = 1
    """Number of processes, each started with the same flags and its own --process."""
    process: int = 0
    """Which of the processes this one is, from 0."""
    cluster: bool = False
    """One of several processes that SLURM (srun) or Open MPI (mpirun) has started: which one, and
    where the others are, comes from the environment."""
    heartbeat: int = 60
    """Seconds after which a process that is not heard of is given up, and the run ends."""
    save_every: float = 1.0
    """Least time in seconds from one checkpoint to the next. A run that is killed loses so much at
    most, and the epoch that runs."""
    check_numbers: bool = False
    """Look for NaN and infinity after each update, end the run at the first one, and say in which
    layer it came up; slower. Without it the loss is looked at after each epoch."""
    size_limit: bool = True
    """Refuse a run that needs more memory than this machine has left, or would not end, before
    anything is built."""
    plots: bool = True
    """Draw learning curves, a sample, firing rates, ... into the run directory at the end."""
    tensorboard: bool = False
    """Write TensorBoard events into the run directory too; needs the extra `tensorboard`."""
    quiet: bool = False
    """Show no progress, only the result."""
    cache: bool = True
    """Keep compiled functions on disk, so that the next run starts sooner."""
    cache_dir: Path | None = None
    """Where they are kept; by default $JAX_COMPILATION_CACHE_DIR, or flax_snn/xla in the user's
    cache directory."""
