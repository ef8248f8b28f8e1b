"""The forward pass of a network as pure functions, and the normalisation seen from inside.

`Forward` is what the adapters for Flax NNX, Flax Linen and plain functions have in common.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Var

from jgaprune.types import Array, Buffers, Norm, NormRecord, NormRule, Params

Apply = Callable[[Params, Buffers, Array], Array]
Observe = Callable[[Params, Buffers, Array, NormRule], tuple[Array, dict[str, NormRecord]]]


class Stepwise(NamedTuple):
    """A language model that reads one token at a time and remembers those before.

    Attributes:
      memory: `params, buffers, num_inputs, length -> memory` of windows yet to be read; the
        numbers are static.
      step: `params, buffers, tokens int32 [N], position int32 [], memory -> (logits [N, C],
        memory)`: what `apply` says at that position.
    """

    memory: Callable[[Params, Buffers, int, int], Any]
    step: Callable[[Params, Buffers, Array, Array, Any], tuple[Array, Any]]


class Forward(NamedTuple):
    """A network taken apart into pure functions and flat dicts of arrays.

    Attributes:
      apply: `params, buffers, inputs [N, ...] -> logits [N, C]`, in evaluation mode; of tokens
        `[N, L]` logits may be `[N, L, C]`.
      observe: the same under a `NormRule`, also returning what each batch-norm layer saw.
      params: parameters by leaf name.
      buffers: other state by leaf name.
      norms: names of the batch-norm layers in forward order.
      stepwise: the same token by token, or None.
    """

    apply: Apply
    observe: Observe | None
    params: Params
    buffers: Buffers
    norms: tuple[str, ...]
    stepwise: Stepwise | None = None


def batch_statistics(x: Array, feature_axis: int = -1) -> Norm:
    """Mean and biased variance of `x` over all axes but `feature_axis`, in float32."""
    x = x.astype(jnp.float32)
    axes = tuple(axis for axis in range(x.ndim) if axis != feature_axis % x.ndim)
    mean = jnp.mean(x, axis=axes, keepdims=True)
    var = jnp.mean(jnp.square(x - mean), axis=axes)
    return Norm(mean.reshape(var.shape), var)


def keep_stored(name: str, batch: Norm, stored: Norm) -> Norm:
    """The rule of a plain evaluation pass: use the stored statistics."""
    return stored


def leaf_name(path: tuple[object, ...]) -> str:
    """A pytree path as a dotted name, without the attribute `value` that NNX variables append.

    >>> leaf_name((jax.tree_util.DictKey("conv1"), jax.tree_util.DictKey("kernel")))
    'conv1.kernel'
    """
    if len(path) > 1 and path[-1] == jax.tree_util.GetAttrKey("value"):
        path = path[:-1]
    return jax.tree_util.keystr(path, simple=True, separator=".")


def named_leaves(paths: Sequence[tuple[tuple[object, ...], Any]]) -> dict[str, Array]:
    """The leaves of a pytree by dotted name, from its paths.

    Raises:
      ValueError: two leaves have the same name.
    """
    leaves = {leaf_name(path): jnp.asarray(leaf) for path, leaf in paths}
    if len(leaves) < len(paths):
        raise ValueError(
            "two arrays have the same dotted name, as {'a.b': x, 'a': {'b': y}} has; rename one "
            "of them."
        )
    return leaves


def norms_in_forward_order(
    observe: Observe, params: Params, buffers: Buffers, inputs: jax.ShapeDtypeStruct
) -> tuple[str, ...]:
    """Names of the batch-norm layers in the order in which a forward pass meets them.

    Raises:
      ValueError: a layer is called more than once: its statistics would be ambiguous.
    """
    order: list[str] = []

    def note(name: str, batch: Norm, stored: Norm) -> Norm:
        order.append(name)
        return stored

    jax.eval_shape(lambda p, b, x: observe(p, b, x, note), params, buffers, inputs)
    if shared := sorted({name for name in order if order.count(name) > 1}):
        raise ValueError(
            f"batch-norm layers called more than once in a forward pass: {', '.join(shared)}. "
            "Give every call a layer of its own, with the same statistics."
        )
    return tuple(order)


def params_in_forward_order(
    apply: Apply, params: Params, buffers: Buffers, inputs: jax.ShapeDtypeStruct
) -> tuple[str, ...]:
    """Names of the parameters in the order in which a forward pass first uses them.

    Parameters that it never uses come last.
    """
    jaxpr = jax.make_jaxpr(apply)(params, buffers, inputs).jaxpr
    in_tree_order = jax.tree.leaves({name: name for name in params})
    names = dict(zip(jaxpr.invars, in_tree_order, strict=False))
    return tuple(dict.fromkeys([*_names_as_used(jaxpr, names), *in_tree_order]))


def _names_as_used(jaxpr: Any, names: dict[Any, str]) -> Iterator[str]:
    """The named variables at each of their uses, looking into jitted and looped functions."""
    for equation in jaxpr.eqns:
        literal_free = [v if isinstance(v, Var) else None for v in equation.invars]
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        inner = getattr(inner, "jaxpr", inner)
        if inner is not None and len(inner.invars) == len(literal_free):
            inside = zip(inner.invars, literal_free, strict=True)
            yield from _names_as_used(inner, {v: names[w] for v, w in inside if w in names})
        else:
            yield from (names[v] for v in literal_free if v in names)
