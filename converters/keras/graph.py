"""The graph of a saved Keras model: which layer is called on the outputs of which.

Models inside models are unrolled into one graph. How JSON holds them is in `saved`, what the
layers compute in `weighted_layers` and `plain_layers`.
"""

from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.keras.saved import (
    Config,
    Value,
    calls_of,
    constants,
    file_places,
    is_model,
    name_of,
    values_of,
)

INPUT: Value = ("", 0)
"""The input of the outermost model."""
_MOST_CALLS = 20_000
_FROM_KERAS = "Load the model in Keras and use jgaprune.converters.from_keras(model)."


class Layer(NamedTuple):
    """One layer as saved.

    Attributes:
      path: its name, after those of the models it is in.
      class_name: of Keras, or whatever stands there.
      module: where the class is from; "" where the file doesn't tell.
      config: its arguments.
      place: what files of weights call the layer and the models around it, as in `file_places`.
    """

    path: str
    class_name: str
    module: str
    config: Config
    place: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """`layer` called on `inputs`."""

    output: Value
    layer: str
    inputs: tuple[Value, ...]


class Graph(NamedTuple):
    """A model as layers by path, and their calls in an order in which they can be made.

    Attributes:
      layers: by path.
      calls: of layers; each after those whose outputs it takes.
      output: what the model returns.
      input_shape: of one input; None where the file leaves a size open.
      faults: calls with anything besides tensors, such as numbers or `training=True`.
    """

    layers: dict[str, Layer]
    calls: tuple[Call, ...]
    output: Value
    input_shape: tuple[int | None, ...]
    faults: tuple[str, ...]


def parse(config: Any) -> Graph:
    """The graph of a model's configuration.

    Raises:
      ConversionError: it isn't that of a Sequential or Functional model with one input and one
        output.
    """
    if not isinstance(config, dict) or not is_model(config):
        name = config.get("class_name") if isinstance(config, dict) else None
        raise ConversionError(
            f"the file's configuration describes a {name!r:.60}, not a Sequential or Functional "
            f"model. {_FROM_KERAS}"
        )
    unrolled = _Unrolled()
    try:
        output = _unroll(unrolled, config, _Outer("", (), ""), (INPUT,))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, ConversionError):
            raise
        kind = "a cycle" if isinstance(error, CycleError) else type(error).__name__
        raise ConversionError(
            f"the file's configuration can't be understood ({kind}: {error!s:.100}). {_FROM_KERAS}"
        ) from error
    return Graph(
        unrolled.layers,
        tuple(unrolled.calls),
        output,
        unrolled.input_shape,
        tuple(dict.fromkeys(unrolled.faults)),
    )


@dataclass
class _Unrolled:
    """What has been found so far."""

    layers: dict[str, Layer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    input_shape: tuple[int | None, ...] = ()
    num_calls: int = 0


class _Outer(NamedTuple):
    """The models around a member: their path, their place in files, and which call of them."""

    path: str
    place: tuple[str, ...]
    call: str

    def path_of(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name


def _unroll(unrolled: _Unrolled, model: Config, outer: _Outer, inputs: tuple[Value, ...]) -> Value:
    """Adds the calls that a model makes on `inputs`; returns its output."""
    if model["class_name"] == "Sequential":
        return _unroll_sequential(unrolled, model["config"], outer, inputs)
    return _unroll_functional(unrolled, model["config"], outer, inputs)


def _unroll_sequential(
    unrolled: _Unrolled, config: Any, outer: _Outer, inputs: tuple[Value, ...]
) -> Value:
    # The first versions of Keras saved the list alone.
    members = config if isinstance(config, list) else config["layers"]
    if not outer.path:
        shape = _shape_of(members[0])
        if shape is None and isinstance(config, dict):
            shape = config.get("build_input_shape")
        unrolled.input_shape = tuple(shape or (None,))[1:]
    places = file_places(members, outer.place)
    for member in members:
        if member["class_name"] != "InputLayer":
            inputs = (_call(unrolled, member, outer, places, inputs, 0),)
    (output,) = inputs
    return output


def _unroll_functional(
    unrolled: _Unrolled, config: Config, outer: _Outer, inputs: tuple[Value, ...]
) -> Value:
    own_inputs, own_outputs = values_of(config["input_layers"]), values_of(config["output_layers"])
    if len(own_inputs) != len(inputs) or len(own_outputs) != 1:
        raise ConversionError(
            f"the model {config.get('name')!r:.60} has {len(own_inputs)} inputs and "
            f"{len(own_outputs)} outputs; models of one input and one output are converted. Cut "
            "it to one of each in Keras: keras.Model(input, output)."
        )
    members = {name_of(member): member for member in config["layers"]}
    places = file_places(config["layers"], outer.place)
    if not outer.path:
        unrolled.input_shape = tuple(_shape_of(members[own_inputs[0][0]]) or (None,))[1:]
    unrolled.faults += [
        f"{outer.path_of(name)} (called with {argument!r:.60})"
        for name, member in members.items()
        for argument in constants(member)
    ]
    known = dict(zip(own_inputs, inputs, strict=True))
    taken = calls_of(members, own_outputs)
    for value in _needed_in_order(taken, own_outputs[0]):
        if value not in known:
            name, index = value
            arguments = tuple(known[needed] for needed in taken[value])
            known[value] = _call(unrolled, members[name], outer, places, arguments, index)
    return known[own_outputs[0]]


def _call(
    unrolled: _Unrolled,
    member: Config,
    outer: _Outer,
    places: dict[str, tuple[str, ...]],
    inputs: tuple[Value, ...],
    index: int,
) -> Value:
    """Adds one call of a member, or all that it makes if it is a model."""
    unrolled.num_calls += 1
    if unrolled.num_calls > _MOST_CALLS:
        raise ConversionError(f"the model calls its layers more than {_MOST_CALLS:,} times.")
    name = name_of(member)
    path, place = outer.path_of(name), places[name]
    if is_model(member):
        inner = _Outer(path, place, f"{outer.call}{name}#{index}/")
        return _unroll(unrolled, member, inner, inputs)
    module = member.get("module") or ""
    layer = Layer(path, str(member["class_name"]), str(module), dict(member["config"]), place)
    unrolled.layers.setdefault(path, layer)
    output = (f"{outer.call}{name}", index)
    unrolled.calls.append(Call(output, path, inputs))
    return output


def _shape_of(member: Config) -> Any:
    """The shape that a first layer expects, the batch's axis included."""
    config = member["config"]
    return config.get("batch_shape") or config.get("batch_input_shape")


def _needed_in_order(taken: dict[Value, list[Value]], output: Value) -> list[Value]:
    """The calls that the output needs, each after those it needs itself."""
    waiting = [output]
    needed: dict[Value, list[Value]] = {}
    while waiting:
        value = waiting.pop()
        if value not in needed:
            needed[value] = taken.get(value, [])
            waiting += needed[value]
    return list(TopologicalSorter(needed).static_order())
