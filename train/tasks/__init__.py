"""The tasks of the app, and what a task of your own is made of.

A task is a subclass of `Task`, or of `RasterTask` for samples in time steps, in one file. Those of
the table run as ``python -m train.<name>``; one in a file of your own as
``python -m train.run module:Class``. See ``docs/tasks.md``.
"""

from train.data.parts import Dataset, Part
from train.settings import CrossbarConfig, NetworkConfig, RunOptions, TrainingConfig
from train.tasks.find import TASKS, find_task, import_task
from train.tasks.raster import RasterSettings, RasterTask, Shape
from train.tasks.task import Results, Task

__all__ = [
    "TASKS",
    "CrossbarConfig",
    "Dataset",
    "NetworkConfig",
    "Part",
    "RasterSettings",
    "RasterTask",
    "Results",
    "RunOptions",
    "Shape",
    "Task",
    "TrainingConfig",
    "find_task",
    "import_task",
]
