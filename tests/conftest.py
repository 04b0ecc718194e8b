"""Settings of all tests: the platform, promotion rules, and annotations checked where asked for."""

import atexit
import functools
import importlib.metadata
import inspect
import os
import shutil
import tempfile
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

# Before JAX is imported. Someone who sets it tests on an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Most of the time is XLA compiling, much of it the same programs: what one process has compiled
# serves the other one too. Both inherit the folder from the process that starts them.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder = tempfile.mkdtemp(prefix="flax_snn_xla_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# Most of the time of compiling is optimising, from which small arrays gain nothing.
# `JAX_DISABLE_MOST_OPTIMIZATIONS=0 pytest` compiles as users do; .ci/run does both.
if os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1") == "1":
    flags = ["--xla_cpu_parallel_codegen_split_count=1"]
    # A third of the time for each operation, and more for loops. XLA ends a process that is given a
    # flag it does not know, and later versions do not know this one.
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        flags.append("--xla_cpu_use_fusion_emitters=false")
    given = os.environ.get("XLA_FLAGS", "").split()
    os.environ["XLA_FLAGS"] = " ".join([*given, *(flag for flag in flags if flag not in given)])

import hypothesis
import jax
import jaxtyping
import pytest
from beartype import BeartypeConf, beartype


def check_functions(*, typechecker: None) -> Callable[[Any], Any]:
    """Decorate as `jaxtyping.jaxtyped` does, but leave classes, and so their fields, alone.

    JAX rebuilds pytrees from placeholders (axes, shapes, plain objects): the fields of a dataclass
    are not always the arrays that their annotations promise. And jaxtyping cannot decorate a
    dataclass that has neither a generated nor a written constructor.
    """
    del typechecker
    return lambda thing: thing if inspect.isclass(thing) else check_from_first_call(thing)


def check_from_first_call(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its annotations checked.

    The code that checks is made in the first call: making it for the thousands of functions that a
    process imports takes seconds, and a test calls few of them.
    """
    checked: Callable[..., Any] | None = None

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal checked
        if checked is None:
            if "<locals>" in function.__qualname__:
                if function.__code__ not in CHECKS:
                    CHECKS[function.__code__] = Check(function)
                checked = CHECKS[function.__code__].of(function)
            else:
                checked = with_check(function)
        return checked(*arguments, **named)

    return call


def with_check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its annotations checked, which takes milliseconds to make."""
    # As type checkers have it, an int will do where a float is asked for.
    return jaxtyped(typechecker=beartype(conf=BeartypeConf(is_pep484_tower=True)))(function)


class Check:
    """The check of a function within a function, which each call of the outer one defines anew.

    It is made once for all of them: they differ in what they close over and not in what they are
    annotated with. Making it each time took a tenth of all tests.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Make the check of all functions of this code."""
        running = self._running = threading.local()

        def run(*arguments: Any, **named: Any) -> Any:
            return running.functions[-1](*arguments, **named)

        # Annotations are strings, which are looked up where the function was written.
        run = types.FunctionType(run.__code__, function.__globals__, closure=run.__closure__)
        self._checked = with_check(functools.wraps(function)(run))

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return one of the functions with its annotations checked."""

        def call(*arguments: Any, **named: Any) -> Any:
            running = self._running.__dict__.setdefault("functions", [])
            running.append(function)
            try:
                return self._checked(*arguments, **named)
            finally:
                running.pop()

        return call


CHECKS: dict[types.CodeType, Check] = {}


# A tenth of the time, so that it has to be asked for; .ci/run asks.
if os.environ.get("FLAX_SNN_CHECK_ANNOTATIONS") == "1":
    # Acts on modules of flax_snn imported from here on; the package itself does not need jaxtyping.
    jaxtyped = jaxtyping.jaxtyped
    jaxtyping.jaxtyped = check_functions  # The name that the hook puts before each definition.
    jaxtyping.install_import_hook("flax_snn", typechecker=None)

# The doctests of flax_snn lie outside this folder, where the fixtures below do not reach.
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# The same examples on every machine, and no test that fails because a machine is slow.
hypothesis.settings.register_profile("flax_snn", derandomize=True, database=None, deadline=None)
hypothesis.settings.load_profile("flax_snn")


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Forget at the end of a file what it has compiled.

    Hardly anything of it serves another file, and all of it together is gigabytes, which Python's
    garbage collector goes through again and again.
    """
    if nextitem is None or nextitem.path != item.path:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    """Refuse silent rank promotion everywhere, silent dtype promotion where no optimizer runs."""
    dtypes = "standard" if request.node.get_closest_marker("optimizer") else "strict"
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion(dtypes):
        yield


@pytest.fixture
def x64() -> Iterator[None]:
    """Compute in float64 during one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def optimised() -> Iterator[None]:
    """Compile as users do, for tests that compute for longer than they compile."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    before = os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"]
    jax.config.update("jax_disable_most_optimizations", before == "1")


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Leave annotations unchecked in one test, as users have it.

    For tests of the package's own errors: a check of the annotation would come first.
    """
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
