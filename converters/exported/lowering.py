"""From torch's exported graph to a `Program`: names, layouts, and what can't be translated.

Weights of dense layers and convolutions are held in Flax layout, outputs last, and their
operators take them so. Elsewhere weights keep torch's layout, and where an operator needs the
other one, the program says so in a step of its own.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from jgaprune.converters.aten.normalisation import BATCH_NORM
from jgaprune.converters.exported.capture import PREFIX, Captured
from jgaprune.converters.exported.nodes import (
    arguments_of,
    held_tensor,
    needed_nodes,
    operator_name,
    output_node,
)
from jgaprune.converters.exported.program import Leaf, Program, Ref, Step
from jgaprune.converters.exported.refusals import refuse
from jgaprune.converters.exported.state import State, dtype_name

_WEIGHT_AT = {
    "addmm.default": 2,
    "baddbmm.default": 2,
    "bmm.default": 1,
    "convolution.default": 1,
    "linear.default": 1,
    "matmul.default": 1,
    "mm.default": 1,
}
"""Which argument of a product is its weights."""
_VIEWS = (
    "alias", "clone", "expand", "getitem", "permute", "reshape", "select", "slice",
    "split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view",
    "_to_copy", "_unsafe_view",
)  # fmt: skip
"""Operators through which weights stay weights."""


class Lowered(NamedTuple):
    """A translated graph.

    Attributes:
      program: in JAX's terms.
      constants: torch tensors that are neither parameters nor buffers, by name.
      axes: permutation from torch's axes to the leaf's, for leaves held in another layout.
      weights: leaves that a product or convolution takes as its weights.
      vocabulary: rows of the table in which the inputs are looked up, or None.
    """

    program: Program
    constants: dict[str, Any]
    axes: dict[str, tuple[int, ...]]
    weights: frozenset[str]
    vocabulary: int | None


def lower(captured: Captured, state: State) -> Lowered:
    """Translates an exported graph.

    Raises:
      ConversionError: operators are missing or draw random numbers, or the forward pass changes
        buffers or uses batch statistics; all are listed.
    """
    return _Lowering(captured, state).lowered()


class _Lowering:
    """One translation; nodes are those of torch's graph."""

    def __init__(self, captured: Captured, state: State):
        self.captured, self.state = captured, state
        self.exported = captured.program
        signature = self.exported.graph_signature
        self.inputs = signature.user_inputs[0]
        self.leaves = {spec.arg.name: self.leaf(spec) for spec in signature.input_specs}
        self.needed = needed_nodes(self.exported.graph)
        self.axes = self.layouts()

    def leaf(self, spec: Any) -> Leaf:
        name = (spec.target or "").removeprefix(PREFIX)
        leaf = self.state.leaves.get(name)
        if leaf is None:
            return Leaf(spec.arg.name, "constants", name)
        holder = "params" if leaf in self.state.parameters else "buffers"
        return Leaf(spec.arg.name, holder, leaf)

    def layouts(self) -> dict[str, tuple[int, ...]]:
        """The permutation in which all uses want a parameter, of those that agree on one."""
        wanted: dict[str, set[tuple[int, ...] | None]] = {}
        for user in self.needed:
            for node in user.all_input_nodes:
                leaf = self.leaves.get(node.name)
                if leaf is not None and leaf.holder == "params":
                    wanted.setdefault(leaf.name, set()).add(_wanted_axes(user, node))
        agreed = {leaf: axes.pop() for leaf, axes in wanted.items() if len(axes) == 1}
        return {leaf: axes for leaf, axes in agreed.items() if axes is not None}

    def lowered(self) -> Lowered:
        refuse(self.exported, self.needed, PREFIX)
        steps = [step for node in self.needed for step in self.steps(node)]
        placeholders = {node.name: node for node in self.needed if node.op == "placeholder"}
        entering = [self.leaves[name] for name in placeholders if name != self.inputs]
        output = output_node(self.exported.graph)
        inputs = next(n for n in self.exported.graph.nodes if n.name == self.inputs)
        program = Program(
            self.inputs,
            dtype_name(inputs.meta["val"].dtype),
            tuple(entering),
            tuple(_freeing(steps, output.name)),
            output.name,
            self.captured.one_by_one,
        )
        tensors = {spec.arg.name: spec.target for spec in self.exported.graph_signature.input_specs}
        constants = {
            leaf.name: held_tensor(self.exported, tensors[leaf.value])
            for leaf in entering
            if leaf.holder == "constants"
        }
        return Lowered(program, constants, self.axes, self.weights(), self.vocabulary(inputs))

    def steps(self, node: Any) -> Iterator[Step]:
        """The operation of a node, after that which brings its weights into Flax layout."""
        if node.op != "call_function":
            return
        operator = operator_name(node)
        arguments, options = arguments_of(node)
        source: Any = arguments[0] if arguments else None
        if operator == "permute.default" and self.is_held_so(source, arguments[1]):
            yield Step(node.name, "alias.default", (Ref(source.name),))
            return
        if operator in ("linear.default", "convolution.default"):
            weight, axes = arguments[1], _flax_axes(node)
            if not self.is_held_so(weight, axes):
                yield Step(f"{node.name}.weight", "permute.default", (Ref(weight.name), axes))
                arguments[1] = Ref(f"{node.name}.weight")
        yield Step(
            node.name,
            operator,
            _static(tuple(arguments)),
            tuple((name, _static(option)) for name, option in sorted(options.items())),
            _dtypes(node.meta.get("val")),
            norm=self.norm(node, arguments),
        )

    def is_held_so(self, source: Any, axes: Any) -> bool:
        leaf = self.leaves.get(getattr(source, "name", ""))
        return leaf is not None and self.axes.get(leaf.name) == _from_the_first(axes)

    def norm(self, node: Any, arguments: list[Any]) -> str:
        """Name of the layer that a batch normalisation is, from that of its statistics."""
        if operator_name(node) != BATCH_NORM:
            return ""
        stored = (self.leaves.get(getattr(one, "name", "")) for one in arguments[3:5])
        names = ["" if leaf is None else leaf.name for leaf in stored]
        layer = names[0].removesuffix(".mean")
        return layer if names == [f"{layer}.mean", f"{layer}.var"] else ""

    def weights(self) -> frozenset[str]:
        """Leaves that products take as weights, but for tables that are looked up."""
        found, looked_up = set(), set()
        for node in self.needed:
            place = _WEIGHT_AT.get(operator_name(node))
            if place is not None and (leaf := self.origin(node.args[place])):
                found.add(leaf)
            if operator_name(node) == "embedding.default" and (leaf := self.origin(node.args[0])):
                looked_up.add(leaf)
        return frozenset(found - looked_up)

    def origin(self, node: Any) -> str | None:
        """The parameter that a value is a view of."""
        leaf = self.leaves.get(_viewed(node).name)
        return leaf.name if leaf is not None and leaf.holder == "params" else None

    def vocabulary(self, inputs: Any) -> int | None:
        for node in self.needed:
            if operator_name(node) == "embedding.default" and _viewed(node.args[1]) is inputs:
                return int(node.args[0].meta["val"].shape[0])
        return None


def _viewed(node: Any) -> Any:
    """What a value is a view of."""
    while operator_name(node).split(".")[0] in _VIEWS:
        node = node.args[0]
    return node


def _wanted_axes(user: Any, node: Any) -> tuple[int, ...] | None:
    """The permutation of a parameter that an operation wants, if any."""
    operator = operator_name(user)
    if operator == "permute.default":
        return _from_the_first(user.args[1])
    if operator not in ("linear.default", "convolution.default"):
        return None
    return _flax_axes(user) if user.args[1] is node else None


def _from_the_first(axes: Sequence[int]) -> tuple[int, ...]:
    """A permutation whose axes may be counted from the last one."""
    return tuple(axis % len(axes) for axis in axes)


def _flax_axes(node: Any) -> tuple[int, ...]:
    """From torch's axes of the weights of a dense layer or convolution to Flax's."""
    if operator_name(node) == "linear.default":
        return (1, 0)
    spatial = range(2, node.args[1].meta["val"].ndim)
    return (*spatial, 0, 1) if node.args[6] else (*spatial, 1, 0)


def _static(value: Any) -> Any:
    """An argument as a program holds it: hashable, and by name."""
    if hasattr(value, "op") and hasattr(value, "users"):
        return Ref(value.name)
    if isinstance(value, list | tuple):
        return tuple(map(_static, value))
    return dtype_name(value) if type(value).__name__ == "dtype" else value


def _dtypes(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_dtypes, value))
    return dtype_name(value.dtype) if hasattr(value, "dtype") else None


def _freeing(steps: list[Step], output: str) -> Iterator[Step]:
    """The steps, each with the values that it is the last to need."""
    last: dict[str, int] = {}
    for place, step in enumerate(steps):
        last.setdefault(step.value, place)
        last.update(dict.fromkeys(_names((step.arguments, step.options)), place))
    freed: dict[int, list[str]] = {}
    for name, place in last.items():
        if name != output:
            freed.setdefault(place, []).append(name)
    for place, step in enumerate(steps):
        yield Step(
            step.value, step.operator, step.arguments, step.options, step.dtypes,
            tuple(freed.get(place, ())), step.norm,
        )  # fmt: skip


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Ref):
        yield value.name
    elif isinstance(value, tuple):
        for one in value:
            yield from _names(one)
