"""All names of a run directory, once.

config.json            settings of the run
environment.json       on what it ran: versions, git, devices; an entry more where that changed
metrics.jsonl          a line for each epoch
result.json            written last: a run that has it is finished
checkpoints/<epoch>/   the best epoch and the latest one
interrupted/<updates>/ a stop within an epoch
damaged/               checkpoints that were found damaged, put aside when the run went on
plots/                 pictures
tensorboard/           events, where they were asked for
.lock                  who works in the directory; gone when nobody does
"""

CONFIG = "config.json"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"

CHECKPOINTS = "checkpoints"
"""Folder of a run directory that has its checkpoints, one per epoch."""

INTERRUPTED = "interrupted"
"""Folder of a run directory that has the checkpoint of a stop within an epoch."""

DELETED = "deleted"
"""Folder in `CHECKPOINTS` where checkpoints wait to be deleted."""

DAMAGED = "damaged"
"""Folder of a run directory where checkpoints lie that were found damaged; nothing reads it."""

LOCK = ".lock"
"""File of a run directory that the process that works in it holds locked."""

PLOTS = "plots"
"""Folder of a run directory that has its pictures."""

TENSORBOARD = "tensorboard"
"""Folder of a run directory that has TensorBoard events."""

CONTENTS = (
    CONFIG,
    ENVIRONMENT,
    METRICS,
    RESULT,
    CHECKPOINTS,
    INTERRUPTED,
    DAMAGED,
    PLOTS,
    TENSORBOARD,
)
"""Everything that a run writes into its directory."""
