"""Torch's graphs: what of a graph is needed, and what a node says.

Nodes are `torch.fx.Node`s of an `ExportedProgram`, whose operators are ATen's or Python's own.
"""

from typing import Any

_IRRELEVANT = ("device", "layout", "memory_format", "non_blocking", "pin_memory")


def operator_name(node: Any) -> str:
    """The operator of a node by name and overload, such as `add.Tensor`; "" for none."""
    if node.op != "call_function":
        return ""
    overload = hasattr(node.target, "_schema")
    return str(node.target).removeprefix("aten.") if overload else node.target.__name__


def needed_nodes(graph: Any) -> list[Any]:
    """The nodes that the output follows from, in order."""
    wanted = {output_node(graph)}
    for node in reversed(graph.nodes):
        if node in wanted:
            wanted.update(node.all_input_nodes)
    return [node for node in graph.nodes if node in wanted]


def output_node(graph: Any) -> Any:
    """The node of the logits, which come last, behind changes of buffers."""
    (results,) = next(node for node in graph.nodes if node.op == "output").args
    return results[-1]


def arguments_of(node: Any) -> tuple[list[Any], dict[str, Any]]:
    """Arguments in the schema's order, and those that have to be named and mean something here."""
    options = {name: one for name, one in node.kwargs.items() if name not in _IRRELEVANT}
    arguments = list(node.args)
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return arguments, options
    positional = [one for one in schema.arguments if not one.kwarg_only]
    for argument in positional[len(arguments) :]:
        if not set(options) & {one.name for one in positional}:
            break
        arguments.append(options.pop(argument.name, argument.default_value))
    return arguments, options


def held_tensor(exported: Any, target: str) -> Any:
    """A tensor that the exported program holds."""
    return (
        exported.constants[target] if target in exported.constants else exported.state_dict[target]
    )
