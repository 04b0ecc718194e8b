"""Checkpoints of a run: the only package that knows Orbax.

A run directory holds ``checkpoints/<epoch>/`` for the best epoch by validation score (the later of
equals) and for the latest, and, where a streamed run was stopped within an epoch,
``interrupted/<updates>/``. Each has three items:

    state   the `TrainState`: parameters, optimiser, step, noise key
    data    where the run stands: epochs and batches done, seed of the order of samples, ...
    meta    format version, settings, metrics of the epoch, versions of the libraries

Orbax writes a checkpoint beside its place and renames it when it is whole, and one that is no
longer wanted is renamed before it is deleted: what has a number for a name is complete whenever
the process may have been killed, unless someone else damaged it; `open_checkpoint` checks.
"""
