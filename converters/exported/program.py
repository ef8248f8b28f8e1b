"""Programs of ATen operators, and how JAX runs them.

A program holds no arrays. It hashes by value, so that searches over equal networks share one
compiled program, and its weights are arguments of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jgaprune.converters.aten import OPERATORS
from jgaprune.converters.exported.sizes import SIZE_OPERATORS
from jgaprune.model.forward import batch_statistics
from jgaprune.types import Array, Buffers, Norm, NormRecord, NormRule, Params

_CHANNELS = 1
"""Axis of the channels in what torch's batch-norm layers see."""
_INPUTS = "jgaprune_inputs"
"""The axis of inputs that go through the program one by one, side by side."""


@dataclass(frozen=True)
class Ref:
    """A value computed before, or an input."""

    name: str


class Leaf(NamedTuple):
    """An array that enters the program: its name there, where it is held, and its name there."""

    value: str
    holder: str
    name: str


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
      value: name of its result.
      operator: name in `OPERATORS` or `SIZE_OPERATORS`.
      arguments: numbers, names, `Ref`s, and tuples of these.
      options: keyword arguments.
      dtypes: of the result, or of each if there are several; None for what is no array.
      frees: values that nothing needs from here on.
      norm: name of the batch-norm layer that this is, or "".
    """

    value: str
    operator: str
    arguments: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...] = ()
    dtypes: Any = None
    frees: tuple[str, ...] = ()
    norm: str = ""


@jax.tree_util.register_static
@dataclass(frozen=True)
class Program:
    """A forward pass.

    Attributes:
      inputs: name of the model's inputs.
      dtype: of the inputs.
      leaves: the other arrays that enter.
      steps: in order.
      output: name of the logits.
      one_by_one: whether it takes a single input, `[1, ...]`, at a time.
    """

    inputs: str
    dtype: str
    leaves: tuple[Leaf, ...]
    steps: tuple[Step, ...]
    output: str
    one_by_one: bool = False

    def __hash__(self) -> int:
        return self._digest

    @cached_property
    def _digest(self) -> int:
        """Hashing thousands of steps takes milliseconds, and a jitted call hashes its arguments."""
        return hash((self.inputs, self.dtype, self.leaves, self.steps, self.output))

    @property
    def norms(self) -> tuple[str, ...]:
        """Names of the batch-norm layers, as often as they are called."""
        return tuple(step.norm for step in self.steps if step.norm)


Constants = dict[str, Array]


def apply(
    program: Program, constants: Constants, params: Params, buffers: Buffers, inputs: Array
) -> Array:
    """The logits `[N, ...]` of inputs `[N, ...]`."""
    return _run(program, constants, params, buffers, inputs, None)[0]


def observe(
    program: Program,
    constants: Constants,
    params: Params,
    buffers: Buffers,
    inputs: Array,
    rule: NormRule,
) -> tuple[Array, dict[str, NormRecord]]:
    """The same under a `NormRule`, and what each batch-norm layer saw and used."""
    return _run(program, constants, params, buffers, inputs, rule)


def _run(
    program: Program,
    constants: Constants,
    params: Params,
    buffers: Buffers,
    inputs: Array,
    rule: NormRule | None,
) -> tuple[Array, dict[str, NormRecord]]:
    held = {"params": params, "buffers": buffers, "constants": constants}
    leaves = {leaf.value: held[leaf.holder][leaf.name] for leaf in program.leaves}
    inputs = inputs.astype(_dtype(program.dtype))
    if not program.one_by_one:
        return _evaluate(program, leaves, inputs, rule)

    def run(one: Array) -> tuple[Array, dict[str, NormRecord]]:
        logits, records = _evaluate(program, leaves, one[None], rule)
        return logits[0], records

    return jax.vmap(run, axis_name=_INPUTS, out_axes=(0, None))(inputs)


def _evaluate(
    program: Program, leaves: dict[str, Array], inputs: Array, rule: NormRule | None
) -> tuple[Array, dict[str, NormRecord]]:
    values: dict[str, Any] = {**leaves, program.inputs: inputs}
    records: dict[str, NormRecord] = {}
    for step in program.steps:
        arguments = [_resolved(argument, values) for argument in step.arguments]
        options = {name: _resolved(option, values) for name, option in step.options}
        if step.norm and rule:
            batch = _statistics(arguments[0], program.one_by_one)
            used = rule(step.norm, batch, Norm(arguments[3], arguments[4]))
            records[step.norm] = NormRecord(batch, used)
            arguments[3:5] = used
        result = _function(step.operator)(*arguments, **options)
        values[step.value] = _as_declared(result, step.dtypes)
        for name in step.frees:
            del values[name]
    return values[program.output], records


def _statistics(x: Array, one_by_one: bool) -> Norm:
    """Mean and variance of `x [N, C, ...]`, over all inputs even where they come one by one."""
    batch = batch_statistics(x, _CHANNELS)
    if not one_by_one:
        return batch
    mean = jax.lax.pmean(batch.mean, _INPUTS)
    return Norm(mean, jax.lax.pmean(batch.var + jnp.square(batch.mean - mean), _INPUTS))


def _function(operator: str) -> Callable[..., Any]:
    return OPERATORS.get(operator) or SIZE_OPERATORS[operator]


def _resolved(argument: Any, values: dict[str, Any]) -> Any:
    if isinstance(argument, Ref):
        return values[argument.name]
    if isinstance(argument, tuple):
        return tuple(_resolved(one, values) for one in argument)
    return argument


def _as_declared(result: Any, dtypes: Any) -> Any:
    """Torch promotes types in its own way; the program says what came out."""
    if isinstance(dtypes, tuple):
        return tuple(map(_as_declared, result, dtypes))
    if dtypes is None:
        return result
    dtype = _dtype(dtypes)
    return result if result.dtype == dtype else result.astype(dtype)


def _dtype(name: str) -> Any:
    """The dtype, or the narrower one that JAX has instead."""
    return jax.dtypes.canonicalize_dtype(name)
