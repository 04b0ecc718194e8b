"""A process joins the others of its run, and all end together."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any, NoReturn

from train.errors import BAD_INPUT, INTERRUPTED, STOPPED, ConfigError, InputError
from train.processes import agree

LOST = 1
"""Exit code where another process of the run has died."""

_MEET = 300
"""Seconds in which all processes have to have started."""


@contextlib.contextmanager
def started(options: Any) -> Iterator[None]:
    """Be one of the processes of a run, as its options say; do nothing for a run of one process.

    To be entered before JAX is used. When one process dies, the others end with an error, at the
    latest when it was not heard of for ``--heartbeat`` seconds. A thread of JAX may abort the
    process before anything here can say so, and JAX has no way to be told otherwise that keeps the
    end within that time (with ``jax_enable_recoverability`` those that are left wait for ever). So
    what to do then is said at the beginning.

    Args:
      options: a `train.settings.RunOptions`: coordinator, processes, process, cluster, heartbeat.

    Raises:
      ConfigError: options that contradict each other, or processes that do not find each other.
    """
    _check(options)
    if options.processes == 1 and not options.cluster:
        yield
        return
    _join(options)
    if agree.count() == 1:
        yield
        return
    if not options.quiet and (agree.first() or not options.cluster):
        print(_what_to_do(options.cluster), file=sys.stderr, flush=True)
    try:
        yield
        agree.wait("the end")
    except (InputError, OSError) as error:
        if not agree.all_met(error):
            _leave(str(error), BAD_INPUT)
        if agree.first():
            raise
        raise SystemExit(BAD_INPUT) from error
    except KeyboardInterrupt:
        _leave(STOPPED, INTERRUPTED)
    except Exception as error:
        if not isinstance(error, RuntimeError):
            traceback.print_exc()
        _leave(f"{type(error).__name__}: {error}", LOST)


def _check(options: Any) -> None:
    """Refuses options that contradict each other."""
    if options.cluster and (options.coordinator or options.processes != 1 or options.process):
        raise ConfigError(
            "--cluster takes --coordinator, --processes and --process from the environment that"
            " SLURM or Open MPI made; leave these out, or --cluster"
        )
    if options.processes < 1:
        raise ConfigError(f"--processes: expected at least one, got {options.processes}")
    if not 0 <= options.process < options.processes:
        raise ConfigError(
            f"--process: expected a number from 0 to {options.processes - 1}, for --processes"
            f" {options.processes}, got {options.process}"
        )
    if options.processes > 1 and not _is_address(options.coordinator):
        raise ConfigError(
            "--coordinator: expected HOST:PORT of the machine of process 0, the same in every"
            f" process, such as 10.0.0.1:8476, got {options.coordinator!r}"
        )
    if options.processes == 1 and options.coordinator:
        raise ConfigError(
            "--coordinator is for several processes: add --processes N --process K, or leave it out"
        )
    if options.heartbeat < 5:
        raise ConfigError(f"--heartbeat: expected at least 5 seconds, got {options.heartbeat}")


def _is_address(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    return bool(host and colon and port.isdigit() and 0 < int(port) < 65536)


def _join(options: Any) -> None:
    import jax
    from orbax.checkpoint import multihost

    if options.cluster:
        given: dict[str, Any] = {}
    else:
        given = {
            "coordinator_address": options.coordinator,
            "num_processes": options.processes,
            "process_id": options.process,
        }
    if jax.config.jax_enable_recoverability:  # type: ignore[attr-defined]
        raise ConfigError(
            "JAX_ENABLE_RECOVERABILITY: expected it to be off, since processes would wait for ever"
            " for one that has died; unset the variable"
        )
    # On CPUs the processes exchange arrays by gloo; other devices have their own ways.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            **given,
            cluster_detection_method=None if options.cluster else "deactivate",
            initialization_timeout=_MEET,
            heartbeat_timeout_seconds=options.heartbeat,
            shutdown_timeout_seconds=options.heartbeat,
        )
    except ValueError as error:
        raise ConfigError(
            f"--cluster: the environment does not say which processes there are ({error}); start"
            " them by srun or mpirun, or give --coordinator, --processes and --process"
        ) from error
    except RuntimeError as error:
        how = "--cluster" if options.cluster else f"--coordinator {options.coordinator}"
        first_line = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"{how}: the processes did not meet within {_MEET} seconds ({first_line}); look whether"
            " all were started, each with its own --process, and whether the port of process 0 is"
            " free and can be reached"
        ) from error
    agree.join(jax.process_index(), jax.process_count(), multihost.get_jax_distributed_client())


def _what_to_do(together: bool) -> str:
    """Returns what is said at the beginning, for the case that JAX itself ends the process.

    Args:
      together: whether a scheduler shows what all processes print in one place.
    """
    if together:
        who, ends = f"{agree.count()} processes: if one dies", "the others"
    else:
        who, ends = f"process {agree.index()} of {agree.count()}: if another dies", "this one"
    return (
        f'{who}, JAX may end {ends} with "Terminating process ..."; what was saved is kept: start'
        " all processes again with --resume"
    )


def _leave(why: str, code: int) -> NoReturn:
    """Ends this process at once: the others, which may wait for it, learn of it.

    An orderly end would wait for processes that are gone, or that wait for this one.
    """
    text = f"process {agree.index()} of {agree.count()}: error: {why}"
    if code == LOST:
        text += (
            "\nif another process has died or cannot be reached: what was saved is kept; start all"
            " processes again with --resume"
        )
    print(text, file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(code)
