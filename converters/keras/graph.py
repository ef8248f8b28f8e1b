"""The graph of a saved Keras model: which layer is called on the outputs of which.

Two dialects are read, that of Keras 3 and that of Keras 2, both plain dicts of JSON. Models
inside models are unrolled into one graph. What the layers compute is in `layers`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any, NamedTuple

from jgaprune.converters.errors import ConversionError

Config = dict[str, Any]
Value = tuple[str, int]
"""An output: which call of a model's layer made it, as `path of the layer, number of the call`."""

INPUT: Value = ("", 0)
_MODELS = {"Sequential", "Functional", "Model"}
_MOST_CALLS = 20_000


class Layer(NamedTuple):
    """One layer as saved.

    Attributes:
      path: its name, after those of the models it is in.
      class_name: of Keras, or whatever stands there.
      module: where the class is from; "" where the file doesn't tell.
      config: its arguments.
      place: `(class or name)` of the layer and the models around it, as files of weights count
        them: `("sequential_1", "dense_2")`.
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
            "model. Load the model in Keras and use jgaprune.converters.from_keras(model)."
        )
    builder = _Builder()
    try:
        output = builder.unroll(config, "", (), (INPUT,), "")
    except (KeyError, IndexError, TypeError, AttributeError, CycleError) as error:
        raise ConversionError(
            f"the file's configuration can't be understood ({type(error).__name__}: "
            f"{error!s:.100}). Load the model in Keras and use "
            "jgaprune.converters.from_keras(model)."
        ) from error
    return Graph(
        builder.layers, tuple(builder.calls), output, builder.input_shape, tuple(builder.faults)
    )


def is_model(saved: Config) -> bool:
    """Whether a saved layer is a model of Keras's own classes."""
    module = saved.get("module") or ""
    return saved.get("class_name") in _MODELS and module.split(".")[0] in ("", "keras")


class _Builder:
    """Collects layers and calls while models are unrolled."""

    def __init__(self) -> None:
        self.layers: dict[str, Layer] = {}
        self.calls: list[Call] = []
        self.input_shape: tuple[int | None, ...] = ()
        self.faults: list[str] = []

    def unroll(
        self,
        saved: Config,
        path: str,
        place: tuple[str, ...],
        inputs: tuple[Value, ...],
        call_path: str,
    ) -> Value:
        """Adds a model's calls on `inputs`; returns the output. `call_path` sets calls apart."""
        config = saved["config"]
        members = config if isinstance(config, list) else config["layers"]
        is_sequential = saved["class_name"] == "Sequential"
        places = _places(members, place, with_inputs=not is_sequential)
        if is_sequential:
            return self._sequential(saved, members, places, path, inputs, call_path)
        return self._functional(config, members, places, path, inputs, call_path)

    def _sequential(self, saved, members, places, path, inputs, call_path) -> Value:
        (value,) = inputs
        for index, member in enumerate(members):
            if index == 0 and not path:
                self._note_shape(member["config"])
                if not self.input_shape and isinstance(saved["config"], dict):
                    built = saved["config"].get("build_input_shape")
                    self.input_shape = tuple(built or (None,))[1:]
            if member["class_name"] != "InputLayer":
                name = _name(member)
                value = self._call(member, places[name], path, (value,), call_path, 0)
        return value

    def _functional(self, config, members, places, path, inputs, call_path) -> Value:
        own_inputs, own_outputs = (
            _values(config["input_layers"]),
            _values(config["output_layers"]),
        )
        if len(own_inputs) != len(inputs) or len(own_outputs) != 1:
            raise ConversionError(
                f"the model {config.get('name')!r:.60} has {len(own_inputs)} inputs and "
                f"{len(own_outputs)} outputs; models of one input and one output are converted. "
                "Cut it to one of each in Keras: keras.Model(input, output)."
            )
        known = dict(zip(own_inputs, inputs, strict=True))
        by_name = {_name(member): member for member in members}
        if not path:
            self._note_shape(by_name[own_inputs[0][0]]["config"])
        needs = _needs(by_name, own_outputs)
        self.faults += [
            f"{path}/{name}".strip("/") + f" (called with {argument!r:.60})"
            for name, member in by_name.items()
            for node in member.get("inbound_nodes") or []
            for argument in _constants(node)
        ]
        for value in _needed_in_order(needs, own_outputs[0]):
            if value not in known:
                name, index = value
                arguments = tuple(known[need] for need in needs[value])
                known[value] = self._call(
                    by_name[name], places[name], path, arguments, call_path, index
                )
        return known[own_outputs[0]]

    def _call(self, member, place, path, inputs, call_path, index) -> Value:
        name = _name(member)
        inner = f"{path}/{name}" if path else name
        if is_model(member):
            return self.unroll(member, inner, place, inputs, f"{call_path}{name}#{index}/")
        module = member.get("module") or ""
        layer = Layer(inner, str(member["class_name"]), module, member["config"], place)
        self.layers.setdefault(inner, layer)
        output = (f"{call_path}{name}", index)
        self.calls.append(Call(output, inner, inputs))
        if len(self.calls) > _MOST_CALLS:
            raise ConversionError(f"the model calls its layers more than {_MOST_CALLS:,} times.")
        return output

    def _note_shape(self, config: Config) -> None:
        shape = config.get("batch_shape") or config.get("batch_input_shape")
        self.input_shape = tuple(shape or (None,))[1:]


def snake_case(class_name: str) -> str:
    """Keras's name for a class in files of weights.

    >>> snake_case("DepthwiseConv2D"), snake_case("ReLU")
    ('depthwise_conv2d', 're_lu')
    """
    parts = ""
    for index, letter in enumerate(class_name):
        before, after = class_name[index - 1 : index], class_name[index + 1 : index + 2]
        starts = letter.isupper() and (before.islower() or (before and after.islower()))
        parts += f"_{letter}" if starts else letter
    return parts.lower()


def _places(members, place, with_inputs) -> dict[str, tuple[str, ...]]:
    """Where files of weights put each member: classes are counted, names are not used."""
    counts: dict[str, int] = {}
    places = {}
    for member in members:
        if not _is_layer(member) or (member["class_name"] == "InputLayer" and not with_inputs):
            continue
        kind = snake_case(member["class_name"])
        count = counts[kind] = counts.get(kind, -1) + 1
        places[_name(member)] = (*place, f"{kind}_{count}" if count else kind)
    return {**{_name(member): place for member in members}, **places}


def _is_layer(member: Config) -> bool:
    """Operations on tensors, such as `x * 2`, are in the graph but are no layers."""
    return not (member.get("module") or "").startswith("keras.src.ops")


def _name(member: Config) -> str:
    return str(member.get("name") or member["config"]["name"])


def _values(saved: Any) -> list[Value]:
    """`["x", 0, 0]` or a list of such as values."""
    if saved and isinstance(saved[0], str):
        saved = [saved]
    if isinstance(saved, dict):
        saved = list(saved.values())
    return [(name, int(node)) for name, node, *_ in saved]


def _needs(members: dict[str, Config], outputs: list[Value]) -> dict[Value, list[Value]]:
    """What each call of each member takes.

    Calls are counted from 0, but from 1 if the member is a model, which has been called once
    when it was made; not every version does so.
    """
    calls = {
        name: [_inputs(node) for node in member.get("inbound_nodes") or []]
        for name, member in members.items()
    }
    meant = {*outputs, *(v for made in calls.values() for taken in made for v in taken)}
    return {
        (name, index + (is_model(members[name]) and (name, len(made)) in meant)): taken
        for name, made in calls.items()
        for index, taken in enumerate(made)
    }


def _constants(node: Any) -> list[Any]:
    """What a saved call takes besides tensors; masks and modes that are off don't count."""
    if isinstance(node, dict):
        return _other_than_tensors([node.get("args") or [], node.get("kwargs") or {}])
    node = [node] if node and isinstance(node[0], str) else node
    return _other_than_tensors([part[3] for part in node if len(part) > 3])


def _other_than_tensors(saved: Any) -> list[Any]:
    if saved is None or saved is False:
        return []
    if isinstance(saved, list):
        return [found for part in saved for found in _other_than_tensors(part)]
    if not isinstance(saved, dict):
        return [saved]
    if saved.get("class_name") == "__keras_tensor__":
        return []
    return [
        f"{key}={found}" for key, value in saved.items() for found in _other_than_tensors(value)
    ]


def _inputs(node: Any) -> list[Value]:
    """The values that a saved call takes, in either dialect."""
    if isinstance(node, dict):
        return list(_tensors([node.get("args", []), node.get("kwargs", {})]))
    node = [node] if node and isinstance(node[0], str) else node
    return [(name, int(index)) for name, index, *_ in node]


def _tensors(saved: Any) -> Iterator[Value]:
    if isinstance(saved, dict):
        if saved.get("class_name") == "__keras_tensor__":
            name, node, _ = saved["config"]["keras_history"]
            yield name, int(node)
            return
        saved = list(saved.values())
    if isinstance(saved, list):
        for part in saved:
            yield from _tensors(part)


def _needed_in_order(needs: dict[Value, list[Value]], output: Value) -> list[Value]:
    """The calls that the output needs, each after those it needs itself."""
    waiting, needed = [output], {}
    while waiting:
        value = waiting.pop()
        if value not in needed:
            needed[value] = needs.get(value, [])
            waiting += needed[value]
    return list(TopologicalSorter(needed).static_order())
