"""Products as primitives of JAX, which have another implementation where the native one cannot go.

A primitive is native on CPUs, and dense on other platforms, in exported programs (whose readers may
have no native kernels) and under ``vmap`` over kernels. It is bilinear, so that forward and reverse
mode of any order follow from its two transposes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import NamedSharding, PartitionSpec

from flax_snn.typing import Array, Shape


def bilinear(
    name: str,
    native: Callable[..., Array],
    dense: Callable[..., Array],
    shape: Callable[..., Shape],
    *,
    static: str = "shares",
) -> Primitive:
    """Returns a primitive for a product of two arrays.

    Args:
      name: its name in programs.
      native: the product on CPUs, of two arrays and what is static.
      dense: the same product elsewhere.
      shape: shape of the result, of the shapes of the arrays and what is static.
      static: keyword of what all three functions get beside the arrays, which can be hashed.
    """
    primitive = Primitive(name)

    def abstract(x: Any, other: Any, **options: Any) -> Any:
        result, spread = shape(x.shape, other.shape, **options), {}
        if varying(x):
            whole = NamedSharding(x.sharding.mesh, PartitionSpec(*(None for _ in result)))
            spread = {"sharding": whole, "manual_axis_type": x.manual_axis_type}
        return jax.core.ShapedArray(result, x.dtype, **spread)

    def lowered(context: Any, *arrays: Any, **options: Any) -> Any:
        parameters = context.module_context.lowering_parameters
        function = dense if getattr(parameters, "for_export", True) else native
        return mlir.lower_fun(function, multiple_results=False)(context, *arrays, **options)

    def batched(arrays: Any, axes: Any, **options: Any) -> Any:
        product = functools.partial(dense, **options)
        return jax.vmap(product, axes)(*arrays), 0

    primitive.def_abstract_eval(abstract)
    compiled = jax.jit(primitive.bind, static_argnames=static)

    def run(*arrays: Any, **options: Any) -> Any:
        with jax.disable_jit(False):  # a primitive that XLA runs is compiled in any case
            return compiled(*arrays, **options)

    primitive.def_impl(run)
    mlir.register_lowering(primitive, mlir.lower_fun(dense, multiple_results=False))
    mlir.register_lowering(primitive, lowered, platform="cpu")
    batching.primitive_batchers[primitive] = batched
    return primitive


def is_explicit(array: Any) -> bool:
    """Returns whether the type of an array says how it is spread over a mesh.

    That of what a primitive returns would have to say it, too: there products are those of JAX.
    """
    return bool(jax.typeof(array).sharding.mesh.explicit_axes)


def varying(array: Any) -> frozenset[Any]:
    """Returns the axes of a mesh along which an array differs, inside ``jax.shard_map``."""
    kind = getattr(array, "manual_axis_type", None)
    return frozenset() if kind is None else frozenset(kind.varying)


def varying_alike(*arrays: Array) -> tuple[Array, ...]:
    """Returns arrays that all differ along the axes of a mesh along which any of them does.

    Inside ``jax.shard_map`` with ``check_vma=True`` the arrays that an operation reads have to. The
    derivative of it is the sum over the devices that weights for all of them need.
    """
    kinds = [varying(jax.typeof(array)) for array in arrays]
    axes = frozenset().union(*kinds)
    return tuple(
        jax.lax.pcast(array, tuple(sorted(axes - own, key=str)), to="varying")
        if axes != own
        else array
        for array, own in zip(arrays, kinds, strict=True)
    )


def transposed(
    primitive: Primitive, left: Callable[..., Array], right: Callable[..., Array]
) -> None:
    """Says what the transposes of a primitive are with respect to its two arrays.

    Args:
      primitive: one that `bilinear` returned.
      left: of the cotangent, the arrays and what is static, the cotangent of the first array.
      right: likewise that of the second.
    """
    ad.defbilinear(primitive, left, right)
