"""Loops over the entries of images that are not zero: convolutions and gradients of their kernels.

    convolution:           out[i, j]    = sum of x[i + p, j + q, c] * kernel[p, q, c]
    convolution_gradient:  out[p, q, c] = sum of x[i + p, j + q, c] * d_out[i, j]

over what is not zero in ``x``, images with their padding. What a row of the window sees lies in one
piece of the list of an image, for the channels of a pixel, and the pixels of a row, follow each
other in memory. So an image is compressed once, and the convolution adds up rows of the kernel by
pieces of its list. The gradient has a list of pixels for each channel, and adds up the cotangents
that lie a tap before them; these are copied into images as large as ``x``, with zeros in between.

The convolution is cut into blocks of images, the gradient into blocks of channels, each for a
thread. Functions take addresses and sizes as 64-bit integers, of a window of ``high`` times
``wide`` taps:

    convolution(x, images, height, width, channels, kernel, high, wide, features, out)
    convolution_gradient(x, images, height, width, channels, d_out, high, wide, features, d_kernel)

Where there is no memory for the lists, entries are worked on one by one.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir

from flax_snn.products.native.builder import I8, I32, I64, Loop, minimum, number, pointer
from flax_snn.products.native.memory import allocated, clear, panel_columns, released
from flax_snn.products.native.threads import in_blocks
from flax_snn.products.native.vectors import LANES, Kind

GROUP_BYTES = 2**19
"""Most bytes of the cotangents of images that are added up at once, which stay in a near cache."""

_ALWAYS = ir.Constant(ir.IntType(1), 1)


def add_loops(module: ir.Module, dtype: str, threads: int = 1) -> dict[str, ir.Function]:
    """Adds the functions for a dtype to a module, and returns them by name."""
    kind = Kind(module, dtype)
    return {
        "convolution": _convolution(kind, threads),
        "convolution_gradient": _gradient(kind, threads),
    }


def _times(b: ir.IRBuilder, *factors: Any) -> Any:
    """Returns the product of integers."""
    return functools.reduce(b.mul, factors)


def _outputs(b: ir.IRBuilder, size: Any, taps: Any) -> Any:
    """Returns how many windows of so many taps there are along an axis."""
    return b.add(b.sub(size, taps), number(1))


def _convolution(kind: Kind, threads: int) -> ir.Function:
    """Returns the convolution, in blocks of images."""
    block = _convolution_block(kind)
    function, b = kind.function("convolution", 10)
    x, images, height, width, channels, kernel, high, wide, features, out = function.args
    rows, columns = _outputs(b, height, high), _outputs(b, width, wide)
    size = number(kind.bytes)
    read = _times(b, size, height, width, channels)
    written = _times(b, size, rows, columns, features)

    def arguments(b: ir.IRBuilder, low: Any, end: Any) -> list[Any]:
        first, to = b.add(x, b.mul(read, low)), b.add(out, b.mul(written, low))
        return [first, b.sub(end, low), height, width, channels, kernel, high, wide, features, to]

    work = _times(b, images, rows, columns, high, wide, channels, features)
    in_blocks(b, block, arguments, images, work, threads)
    b.ret_void()
    return function


def _convolution_block(kind: Kind) -> ir.Function:
    """Returns the convolution of some images, one after the other."""
    function, b = kind.function("convolution_block", 10)
    x, images, height, width, channels, kernel, high, wide, features, out = function.args
    rows, columns = _outputs(b, height, high), _outputs(b, width, wide)
    size, pixels = number(kind.bytes), b.mul(height, width)
    cells = b.mul(pixels, channels)
    bytes_of = [
        b.mul(b.add(pixels, number(1)), number(8)),
        b.mul(b.add(cells, number(LANES)), number(4)),
        b.mul(cells, size),
    ]
    memory, missing = allocated(b, kind, bytes_of)
    with b.if_then(missing):
        released(b, kind, memory)
        _one_by_one(b, kind, function.args, gradient=False)
        b.ret_void()
    starts, places, values = memory
    begin = pointer(b, starts, I64)
    window = _times(b, high, wide, channels)
    panel = panel_columns(b, kind.bytes, window, features)
    with Loop(b, number(0), features, panel) as first, Loop(b, number(0), images) as image:
        here = minimum(b, panel, b.sub(features, first))
        offset = b.mul(size, first)
        seen = b.add(x, _times(b, size, image, cells))
        kind.compress(b, (seen, channels), pixels, channels, (starts, places))
        kind.flatten(b, (seen, channels), pixels, (starts, places, values))
        with Loop(b, number(0), rows) as row, Loop(b, number(0), columns) as column:
            pixel_out = b.add(b.mul(b.add(b.mul(image, rows), row), columns), column)
            target = b.add(b.add(out, _times(b, size, features, pixel_out)), offset)
            with Loop(b, number(0), high) as tap:
                pixel = b.add(b.mul(b.add(row, tap), width), column)
                start = b.load(b.gep(begin, [pixel]))
                count = b.sub(b.load(b.gep(begin, [b.add(pixel, wide)])), start)
                # Entries are numbers of values in the image: the kernel is moved to fit them.
                moved = b.sub(b.mul(tap, wide), pixel)
                matrix = b.add(b.add(kernel, _times(b, size, moved, channels, features)), offset)
                listed = (
                    b.add(places, b.mul(number(4), start)),
                    count,
                    b.add(values, b.mul(size, start)),
                )
                adds = b.icmp_signed(">", tap, number(0))
                kind.sum_rows(b, target, matrix, features, here, listed, adds)
    released(b, kind, memory)
    b.ret_void()
    return function


def _gradient(kind: Kind, threads: int) -> ir.Function:
    """Returns the gradient of the kernel, in blocks of channels."""
    block = _gradient_block(kind)
    function, b = kind.function("convolution_gradient", 10)
    x, images, height, width, channels, d_out, high, wide, features, out = function.args

    def arguments(b: ir.IRBuilder, low: Any, end: Any) -> list[Any]:
        first = b.add(x, b.mul(number(kind.bytes), low))
        to = b.add(out, _times(b, number(kind.bytes), low, features))
        here = b.sub(end, low)
        sizes = [images, height, width, channels]
        return [first, *sizes, d_out, high, wide, features, to, here]

    rows, columns = _outputs(b, height, high), _outputs(b, width, wide)
    work = _times(b, images, rows, columns, high, wide, channels, features)
    in_blocks(b, block, arguments, channels, work, threads)
    b.ret_void()
    return function


def _gradient_block(kind: Kind) -> ir.Function:
    """Returns the gradient of some channels: ``here`` of ``channels``, from ``x`` on."""
    function, b = kind.function("convolution_gradient_block", 11)
    x, images, height, width, channels, d_out, high, wide, features, out, here = function.args
    rows, columns = _outputs(b, height, high), _outputs(b, width, wide)
    size, pixels = number(kind.bytes), b.mul(height, width)
    row_bytes = b.mul(size, features)
    # A tap before the first pixel lies in the zeros in front; one before the first pixel of another
    # image, or of a row, in those behind the outputs of what is there.
    lead = b.add(b.mul(b.sub(high, number(1)), width), b.sub(wide, number(1)))
    group = b.udiv(number(GROUP_BYTES), b.add(b.mul(pixels, row_bytes), number(1)))
    group = b.select(b.icmp_signed("<", group, number(1)), number(1), minimum(b, group, images))
    most = b.mul(group, pixels)
    cells = b.mul(most, here)
    spread = _times(b, b.add(lead, most), row_bytes)
    bytes_of = [
        b.mul(b.add(most, number(1)), number(8)),
        b.mul(b.add(cells, number(LANES)), number(4)),
        b.mul(b.add(here, number(2)), number(8)),
        b.mul(cells, number(4)),
        b.mul(cells, size),
        spread,
    ]
    memory, missing = allocated(b, kind, bytes_of)
    _clear_channels(b, kind, out, b.mul(high, wide), channels, here, features)
    with b.if_then(missing):
        released(b, kind, memory)
        _one_by_one(b, kind, function.args, gradient=True)
        b.ret_void()
    by_pixel, by_channel = (memory[0], memory[1]), (memory[2], memory[3], memory[4])
    cotangents = memory[5]
    clear(b, kind, cotangents, b.mul(b.add(lead, most), features))
    begin = pointer(b, by_channel[0], I64)
    with Loop(b, number(0), images, group) as first:
        found = minimum(b, group, b.sub(images, first))
        seen = b.add(x, _times(b, size, first, pixels, channels))
        given = b.add(d_out, _times(b, row_bytes, first, rows, columns))
        target = b.add(cotangents, b.mul(row_bytes, lead))
        _spread(b, kind, (found, rows, columns), row_bytes, given, (target, pixels, width))
        count = b.mul(found, pixels)
        kind.compress(b, (seen, channels), count, here, by_pixel)
        kind.transpose(b, (seen, channels), count, here, by_pixel, by_channel)
        with Loop(b, number(0), here) as channel:
            start = b.load(b.gep(begin, [channel]))
            listed = (
                b.add(by_channel[1], b.mul(number(4), start)),
                b.sub(b.load(b.gep(begin, [b.add(channel, number(1))])), start),
                b.add(by_channel[2], b.mul(size, start)),
            )
            with Loop(b, number(0), high) as p, Loop(b, number(0), wide) as q:
                tap = b.add(b.mul(p, wide), q)
                target = b.add(out, b.mul(row_bytes, b.add(b.mul(tap, channels), channel)))
                before = b.sub(lead, b.add(b.mul(p, width), q))
                matrix = b.add(cotangents, b.mul(row_bytes, before))
                kind.sum_rows(b, target, matrix, features, features, listed, _ALWAYS)
    released(b, kind, memory)
    b.ret_void()
    return function


def _spread(
    b: ir.IRBuilder, kind: Kind, shape: Any, pixel_bytes: Any, source: Any, target: Any
) -> None:
    """Copies images into larger ones.

    Args:
      b: the builder.
      kind: the dtype.
      shape: how many images, their rows and columns.
      pixel_bytes: bytes of a pixel.
      source: address of the first one.
      target: where to, and pixels of a larger image and of its rows.
    """
    (images, rows, columns), (to, pixels, width) = shape, target
    with Loop(b, number(0), images) as image, Loop(b, number(0), rows) as row:
        seen = b.mul(b.add(b.mul(image, rows), row), columns)
        place = b.add(b.mul(image, pixels), b.mul(row, width))
        ends = [b.add(at, b.mul(pixel_bytes, k)) for at, k in ((to, place), (source, seen))]
        b.call(kind.copy, [*(pointer(b, end, I8) for end in ends), b.mul(pixel_bytes, columns)])


def _clear_channels(
    b: ir.IRBuilder, kind: Kind, out: Any, taps: Any, channels: Any, here: Any, features: Any
) -> None:
    """Writes zeros to some channels of a kernel."""
    with Loop(b, number(0), taps) as tap:
        at = b.add(out, _times(b, number(kind.bytes), tap, channels, features))
        clear(b, kind, at, b.mul(here, features))


def _one_by_one(b: ir.IRBuilder, kind: Kind, arguments: Any, *, gradient: bool) -> None:
    """Works on each entry as it is found, which needs no memory.

    Args:
      b: the builder.
      kind: the dtype.
      arguments: those of the block.
      gradient: whether it is that of the gradient, which adds to what is there.
    """
    x, images, height, width, channels, matrix, high, wide, features, out = arguments[:10]
    here = arguments[10] if gradient else channels
    rows, columns = _outputs(b, height, high), _outputs(b, width, wide)
    size, place = number(kind.bytes), b.alloca(I32)
    b.store(ir.Constant(I32, 0), place)
    if not gradient:
        clear(b, kind, out, _times(b, images, rows, columns, features))

    def of_kernel(p: Any, q: Any, channel: Any) -> Any:
        return b.add(b.mul(b.add(b.mul(p, wide), q), channels), channel)

    with (
        Loop(b, number(0), images) as image,
        Loop(b, number(0), rows) as row,
        Loop(b, number(0), columns) as column,
        Loop(b, number(0), high) as p,
        Loop(b, number(0), wide) as q,
        Loop(b, number(0), here) as channel,
    ):
        seen = b.add(b.mul(b.add(b.mul(image, height), b.add(row, p)), width), b.add(column, q))
        value = b.gep(pointer(b, x, kind.scalar), [b.add(b.mul(seen, channels), channel)])
        fires = b.fcmp_unordered("!=", b.load(value), ir.Constant(kind.scalar, 0.0))
        with b.if_then(fires):
            pixel = b.add(b.mul(b.add(b.mul(image, rows), row), columns), column)
            ends = [of_kernel(p, q, channel), pixel]
            source, target = reversed(ends) if gradient else ends
            source = b.add(matrix, _times(b, size, features, source))
            target = b.add(out, _times(b, size, features, target))
            listed = (b.ptrtoint(place, I64), number(1), b.ptrtoint(value, I64))
            kind.sum_rows(b, target, source, features, features, listed, _ALWAYS)
