"""Kernels as functions that XLA calls, through its C interface for foreign functions.

A call frame is a C struct that XLA fills; the offsets below are those of ``xla/ffi/api/c_api.h``,
in units of 8 bytes. They are known for the versions in `KNOWN_VERSIONS` only.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from llvmlite import binding, ir

from flax_snn.products.native import images, kernels
from flax_snn.products.native.builder import I32, I64, number, pointer

KNOWN_VERSIONS = ((0, 3), (0, 4), (0, 5))
"""Versions of the interface whose structs were compared with the offsets here."""

EXTENSION, ARGUMENTS, RESULTS = 1, 9, 14  # in a call frame
DATA, DIMENSIONS = 3, 5  # in a buffer
KIND, METADATA = 1, 3  # in an extension
MAJOR, MINOR, TRAITS = 6, 7, 8  # in metadata, in units of 4 bytes
IS_METADATA = 1

_ENGINES: list[Any] = []
"""Compiled modules, which must live as long as the process."""


def version() -> tuple[int, int] | None:
    """Returns the version of the interface of the installed XLA, None without its header."""
    header = Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h")
    if not header.exists():
        return None
    text = header.read_text()
    found = [re.search(rf"#define XLA_FFI_API_{part} (\d+)", text) for part in ("MAJOR", "MINOR")]
    if found[0] is None or found[1] is None:
        return None
    return int(found[0][1]), int(found[1][1])


def register(part: str, dtype: str, threads: int) -> None:
    """Compiles the kernels of a part for a dtype, and makes them known to XLA on CPUs.

    Each is a target for `jax.ffi.ffi_call` by the name `target`. Of ``matrices``, products take ``x
    (rows, features)`` and a matrix with as many columns as their result; ``denser`` takes ``x`` and
    a limit as int32 ``(1,)``, and its result is an int32 ``(1,)``. Those of ``images`` take ``x
    (images, height, width, channels)``, and a kernel or cotangents of four axes.

    Args:
      part: one of `PARTS`.
      dtype: the dtype.
      threads: threads that a kernel may use.
    """
    module = ir.Module("flax_snn")
    add_loops, calls = PARTS[part]
    for name, function in add_loops(module, dtype, threads).items():
        _add_call(module, function, calls[name])
    engine = _compiled(module)
    make = ctypes.pythonapi.PyCapsule_New
    make.restype = ctypes.py_object
    make.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    for name in calls:
        address = engine.get_function_address(f"{target(name, dtype)}_call")
        capsule = make(address, None, None)
        jax.ffi.register_ffi_target(target(name, dtype), capsule, platform="cpu", api_version=1)


def target(name: str, dtype: str) -> str:
    """Returns the name under which XLA knows a kernel."""
    return f"flax_snn_{name}_{dtype}"


def _add_call(module: ir.Module, kernel: ir.Function, run: Callable[..., None]) -> None:
    """Adds the function that XLA calls: from a call frame to a null pointer, which says success."""
    major, minor = version() or KNOWN_VERSIONS[0]
    call = ir.Function(module, ir.FunctionType(I64, [I64]), f"{kernel.name}_call")
    b = ir.IRBuilder(call.append_basic_block())

    def read(address: Any, offset: int) -> Any:
        return b.load(b.gep(pointer(b, address, I64), [number(offset)]))

    def put(value: Any, address: Any, offset: int) -> None:
        b.store(ir.Constant(I32, value), b.gep(pointer(b, address, I32), [number(offset)]))

    (frame,) = call.args
    extension = read(frame, EXTENSION)
    with b.if_then(b.icmp_unsigned("!=", extension, number(0))):
        kind = b.and_(read(extension, KIND), number(0xFFFFFFFF))
        with b.if_then(b.icmp_unsigned("==", kind, number(IS_METADATA))):
            metadata = read(extension, METADATA)
            for value, offset in ((major, MAJOR), (minor, MINOR), (0, TRAITS)):
                put(value, metadata, offset)
            b.ret(number(0))
    arguments, results = read(frame, ARGUMENTS), read(frame, RESULTS)
    run(b, kernel, read, read(arguments, 0), read(arguments, 1), read(results, 0))
    b.ret(number(0))


def _multiplied(b: Any, kernel: Any, read: Any, x: Any, matrix: Any, out: Any) -> None:
    """Calls a product for its two buffers and that of its result."""
    shape = read(x, DIMENSIONS)
    rows, features, width = read(shape, 0), read(shape, 1), read(read(matrix, DIMENSIONS), 1)
    data = [read(buffer, DATA) for buffer in (x, matrix, out)]
    b.call(kernel, [data[0], rows, features, data[1], width, data[2]])


def _limited(b: Any, kernel: Any, read: Any, x: Any, limit: Any, out: Any) -> None:
    """Calls the count of a matrix up to a limit."""
    shape = read(x, DIMENSIONS)
    most = b.sext(b.load(pointer(b, read(limit, DATA), I32)), I64)
    flag = b.call(kernel, [read(x, DATA), b.mul(read(shape, 0), read(shape, 1)), most])
    b.store(b.trunc(flag, I32), pointer(b, read(out, DATA), I32))


def _convolved(b: Any, kernel: Any, read: Any, x: Any, weights: Any, out: Any) -> None:
    """Calls a convolution, whose window is that of its weights."""
    _windowed(b, kernel, read, (x, weights, out), weights)


def _correlated(b: Any, kernel: Any, read: Any, x: Any, d_out: Any, out: Any) -> None:
    """Calls the gradient of a kernel, which is its result and has its window."""
    _windowed(b, kernel, read, (x, d_out, out), out)


def _windowed(b: Any, kernel: Any, read: Any, buffers: Any, weights: Any) -> None:
    """Calls a loop over images for its buffers, of which one has the shape of the weights."""
    x, other, out = (read(buffer, DATA) for buffer in buffers)
    of_x, of_weights = (read(buffer, DIMENSIONS) for buffer in (buffers[0], weights))
    high, wide, _, features = (read(of_weights, k) for k in range(4))
    b.call(kernel, [x, *(read(of_x, k) for k in range(4)), other, high, wide, features, out])


PARTS: dict[str, tuple[Callable[..., dict[str, ir.Function]], dict[str, Callable[..., None]]]] = {
    "matrices": (
        kernels.add_loops,
        {"product": _multiplied, "kernel_gradient": _multiplied, "denser": _limited},
    ),
    "images": (
        images.add_loops,
        {"convolution": _convolved, "convolution_gradient": _correlated},
    ),
}
"""Kernels that are compiled together: what adds them to a module, and how each is called."""


def _compiled(module: ir.Module) -> Any:
    """Returns the engine that holds the machine code of a module for this processor."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=3,
    )
    module.triple = binding.get_default_triple()
    module.data_layout = str(machine.target_data)
    parsed = binding.parse_assembly(str(module))
    parsed.verify()
    # The loops are written as they should run, in vectors: all passes of a compiler take four times
    # as long, and the result is no faster.
    passes = binding.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.run(
        parsed, binding.create_pass_builder(machine, binding.create_pipeline_tuning_options())
    )
    engine = binding.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _ENGINES.append(engine)
    return engine
