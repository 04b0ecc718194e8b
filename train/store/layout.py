"""All names of a run directory, once.

config.json            settings of the run
metrics.jsonl          a line for each epoch
result.json            written last: a run that has it is finished
checkpoints/<epoch>/   the best epoch and the latest one
interrupted/<updates>/ a stop within an epoch
plots/                 pictures
tensorboard/           events, where they were asked for
"""

CONFIG = "config.json"
METRICS = "metrics.jsonl"
RESULT = "result.json"

CHECKPOINTS = "checkpoints"
"""Folder of a run directory that has its checkpoints, one per epoch."""

INTERRUPTED = "interrupted"
"""Folder of a run directory that has the checkpoint of a stop within an epoch."""

DELETED = "deleted"
"""Folder in `CHECKPOINTS` where checkpoints wait to be deleted."""

PLOTS = "plots"
"""Folder of a run directory that has its pictures."""

TENSORBOARD = "tensorboard"
"""Folder of a run directory that has TensorBoard events."""

CONTENTS = (CONFIG, METRICS, RESULT, CHECKPOINTS, INTERRUPTED, PLOTS, TENSORBOARD)
"""Everything that a run writes into its directory."""
