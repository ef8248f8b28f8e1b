"""Exporting a module: one forward pass in evaluation mode, as a graph of ATen operators."""

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import numpy as np

from jgaprune.converters.errors import ConversionError

PREFIX = "module."
"""What the exported names of a module's tensors begin with."""
_WHOLE = (
    "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "adaptive_avg_pool3d.default",
    "avg_pool1d.default", "gelu.default", "group_norm.default", "hardsigmoid.default",
    "hardswish.default", "instance_norm.default", "layer_norm.default", "linear.default",
    "log_softmax.int", "matmul.default", "max_pool1d.default", "max_pool2d.default",
    "max_pool3d.default", "rms_norm.default", "roll.default",
    "scaled_dot_product_attention.default", "silu.default", "softmax.int", "softplus.default",
    "upsample_bilinear2d.vec", "upsample_nearest2d.vec",
)  # fmt: skip
"""Operators that stay whole, since JAX has them, where torch would take them apart further."""
_LONGEST_CAUSE = 700
_MOST_INPUTS = 2**31
"""A program whose number of inputs ends below this was written for some numbers only."""


class Captured(NamedTuple):
    """An exported module.

    Attributes:
      program: torch's `ExportedProgram`.
      one_by_one: whether it takes a single input only, `[1, ...]`.
    """

    program: Any
    one_by_one: bool


def import_torch() -> Any:
    """Torch with its exporter.

    Raises:
      ConversionError: one of them can't be imported.
    """
    try:
        import torch
        import torch.export
    except ImportError as error:
        raise ConversionError(
            f"from_torch needs PyTorch and its torch.export ({error}). Install the extra: "
            "pip install 'jgaprune[torch]'. torch 2.13.0 with jax 0.10.2 is a pair that works."
        ) from error
    return torch


def computing(module: Any) -> Any:
    """The module itself, or where it computes in another type than JAX will, a copy that does.

    That type is float32, or float64 for modules in it where JAX has 64 bits.
    """
    floats = [one for one in (*module.parameters(), *module.buffers()) if one.is_floating_point()]
    dtypes = {str(one.dtype) for one in floats}
    if dtypes <= {"torch.float32"}:
        return module
    if dtypes == {"torch.float64"} and jax.dtypes.canonicalize_dtype("float64") == np.float64:
        return module
    return copy.deepcopy(module).float()


def capture(torch: Any, module: Any, example: Any, keyword: str | None) -> Captured:
    """Exports a module in evaluation mode; its own mode is restored afterwards.

    Args:
      torch: the package.
      module: computes in the type of JAX.
      example: its input, `[N, ...]`, a tensor.
      keyword: name of its argument, or None for the first one.

    Raises:
      ConversionError: it can't be exported: Python decides by values, or the output is no tensor.
    """
    several = torch.cat([example, example]) if len(example) == 1 else example
    with _evaluating(torch, module) as whole:
        call = _with_logits(torch, whole, keyword)
        try:
            exported = _exported(torch, call, several, torch.export.Dim.AUTO)
        except Exception:  # whatever depends on the number of inputs may not on a single one
            exported = None
        if exported is not None and _takes_any_number(exported):
            return Captured(exported, False)
        try:
            return Captured(_exported(torch, call, example[:1], torch.export.Dim.STATIC), True)
        except ConversionError:
            raise
        except Exception as error:
            raise ConversionError(
                f"torch can't export {type(module).__name__}: {_cause(error)} Where Python "
                "decides by the values of tensors, or takes them out as numbers, write it with "
                "torch.where, or pass the part of the module that doesn't."
            ) from error


def _exported(torch: Any, call: Any, example: Any, batch: Any) -> Any:
    exported = torch.export.export(call, (example,), dynamic_shapes=({0: batch},), strict=False)
    table = torch.export.default_decompositions()
    for operator in list(table):
        if str(operator).removeprefix("aten.") in _WHOLE:
            del table[operator]
    return exported.run_decompositions(table)


def _takes_any_number(exported: Any) -> bool:
    """Whether the number of inputs is still a symbol, of which Python has not asked anything.

    The program holds for all numbers from 2 up then; torch never takes 1 for any.
    """
    name = exported.graph_signature.user_inputs[0]
    node = next(node for node in exported.graph.nodes if node.name == name)
    size = node.meta["val"].shape[0]
    if isinstance(size, int) or not size.node.expr.is_Symbol:
        return False
    limits = exported.range_constraints.get(size.node.expr)
    return limits is None or bool(limits.lower <= 2 and limits.upper >= _MOST_INPUTS)


@contextmanager
def _evaluating(torch: Any, module: Any) -> Iterator[Any]:
    """The module in evaluation mode, without gradients and attention's closed fast path."""
    modes = {part: part.training for part in module.modules()}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield module.eval()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for part, training in modes.items():
            part.training = training


def _with_logits(torch: Any, module: Any, keyword: str | None) -> Any:
    """A module of one argument that returns the logits of `module` alone."""

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, inputs: Any) -> Any:
            called = self.module(inputs) if keyword is None else self.module(**{keyword: inputs})
            return _logits(torch, called)

    return Logits()


def _logits(torch: Any, output: Any) -> Any:
    """The output itself, what it calls logits, or its first tensor."""
    if isinstance(output, torch.Tensor):
        return output
    logits = getattr(output, "logits", None)
    if isinstance(logits, torch.Tensor):
        return logits
    parts = output.values() if isinstance(output, Mapping) else output
    if isinstance(output, Mapping | tuple | list):
        for part in parts:
            if isinstance(part, torch.Tensor):
                return part
    raise ConversionError(
        f"the module returns a {type(output).__name__}, expected a tensor of logits, something "
        "with `.logits`, or a tuple or mapping with a tensor. Wrap it in a module that returns "
        "the logits."
    )


def _cause(error: Exception) -> str:
    """The first sentences of torch's message, which may go on for pages."""
    text = " ".join(str(error).split()) or type(error).__name__
    short = text if len(text) <= _LONGEST_CAUSE else text[:_LONGEST_CAUSE].rstrip() + " ..."
    return short if short.endswith((".", "!", "...")) else short + "."


def as_example(torch: Any, example_inputs: Any) -> tuple[str | None, Any]:
    """The one input among what the caller gave, and the name of its argument if it has one.

    Raises:
      ConversionError: there isn't exactly one array `[N, ...]`.
    """
    keyword, given = None, example_inputs
    if isinstance(given, Mapping) and len(given) == 1:
        keyword, given = next(iter(given.items()))
    elif isinstance(given, tuple | list) and len(given) == 1:
        given = given[0]
    if isinstance(given, np.ndarray | jax.Array):
        given = torch.from_numpy(np.array(given))
    if not isinstance(given, torch.Tensor) or given.ndim < 2 or not len(given):
        what = f"{len(given)} of them" if isinstance(given, Mapping | tuple | list) else given
        if isinstance(given, torch.Tensor):
            what = f"shape {tuple(given.shape)}"
        raise ConversionError(
            f"example_inputs must be one array [N, ...], alone, in a tuple or by keyword, got "
            f"{what}. Wrap a module that takes more (an attention mask, say) in one that makes "
            "the rest itself."
        )
    return keyword, given
