"""`Model`: what every other part works on.

Parameters and buffers are flat dicts of named arrays; `apply` and `observe` are pure forward
functions for ONE set of parameters. How foreign weights become a `Model` is in
`jgaprune.converters`.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen
import jax
from flax import nnx

from jgaprune.masks import Layout, layout_of
from jgaprune.model.forward import (
    Apply,
    Forward,
    Observe,
    Stepwise,
    params_in_forward_order,
)
from jgaprune.model.from_fn import forward_from_fn
from jgaprune.model.from_linen import forward_from_linen
from jgaprune.model.from_nnx import forward_from_nnx
from jgaprune.model.spec import ModelSpec, Preprocessing, shape_of_inputs
from jgaprune.types import Array, Buffers, Params

Prunable = Callable[[str, Array], bool]
"""`leaf name, leaf -> whether it takes part in pruning`."""


class Tokens(NamedTuple):
    """What is known of tokens as inputs; nothing where `vocabulary` is None.

    Attributes:
      vocabulary: how many there are.
      padding: whether the network takes -1 for padding.
      start: the one that a text begins with.
    """

    vocabulary: int | None = None
    padding: bool = False
    start: int = 1


_NO_TOKENS = Tokens()


class Model(NamedTuple):
    """A pre-trained network as pure functions. A pytree: its arrays are its leaves.

    Attributes:
      apply: `params, buffers, inputs [N, ...] -> logits [N, C]`, in evaluation mode; language
        models map tokens `int32 [N, L]` to logits `[N, L, C]`.
      params: parameters by leaf name, in Flax layout.
      buffers: running statistics and other non-trained state by leaf name.
      spec: names, what is prunable, preprocessing, source.
      observe: `params, buffers, inputs, rule -> (logits, {norm name: NormRecord})`: a forward
        pass in which `rule(name, batch, stored)` chooses the statistics that each batch-norm
        layer uses, in forward order; None where the layers cannot be seen.
      stepwise: the forward pass of a language model token by token, for writing text; None
        where there is none.
    """

    apply: Apply
    params: Params
    buffers: Buffers
    spec: ModelSpec
    observe: Observe | None = None
    stepwise: Stepwise | None = None

    def __repr__(self) -> str:
        spec = self.spec  # leaves may be anything while a tree is mapped
        told = f"inputs {list(spec.input_shape)}, {len(spec.prunable)} prunable tensors"
        return f"<Model {spec.name}: {told}>"

    @property
    def layout(self) -> Layout:
        """The flat order of the prunable weights."""
        return layout_of(self.params, self.spec.prunable)

    @property
    def shows_norms(self) -> bool:
        """Whether batch-norm layers, and the statistics that they have stored, can be seen."""
        return self.observe is not None and bool(self.spec.norms)

    @staticmethod
    def from_nnx(
        module: nnx.Module,
        input_shape: tuple[int, ...],
        *,
        call: Callable[[Any, Array], Array] | None = None,
        name: str | None = None,
        prunable: Prunable | None = None,
        preprocessing: Preprocessing | None = None,
        vocabulary: int | None = None,
        padding: bool = False,
        start_token: int = 1,
    ) -> "Model":
        """A model from a Flax NNX module with its weights loaded.

        Args:
          module: called as `module(inputs [N, ...]) -> logits [N, C]`; it is copied, and the
            copy put in evaluation mode.
          input_shape: shape of one input, for example `(32, 32, 3)`.
          call: `module, inputs -> logits` where the module is called in another way, for
            example `lambda module, inputs: module(inputs, train=False)`. Define it once:
            searches over equal functions share one compiled program.
          name: for reports; the class's name by default.
          prunable: which leaves take part; by default those of two or more axes and more than
            one input per output that are not called bias, scale or embedding.
          preprocessing: how stored images become inputs.
          vocabulary: how many tokens there are, where inputs are `int32` tokens `[N, L]` and not
            floats; `input_shape` is `(L,)` then, and logits may be `[N, L, C]`.
          padding: whether the module takes tokens of -1 for padding, and lets no other position
            look at them.
          start_token: that a text begins with, where the module writes one.

        Raises:
          ValueError: the output is not `[N, C]`, nothing is prunable, the forward pass updates
            statistics or draws random numbers, or it calls a batch-norm layer twice.
        """
        inputs = shape_of_inputs(2, tuple(input_shape), vocabulary)
        forward = forward_from_nnx(module, inputs, call)
        tokens = Tokens(vocabulary, padding, start_token)
        label = name or type(module).__name__
        return Model.from_forward(
            forward,
            input_shape,
            name=label,
            prunable=prunable,
            preprocessing=preprocessing,
            tokens=tokens,
        )

    @staticmethod
    def from_linen(
        module: flax.linen.Module,
        variables: Mapping[str, Any],
        input_shape: tuple[int, ...],
        *,
        call: Callable[[Any, Array], Array] | None = None,
        name: str | None = None,
        prunable: Prunable | None = None,
        preprocessing: Preprocessing | None = None,
        vocabulary: int | None = None,
        padding: bool = False,
        start_token: int = 1,
    ) -> "Model":
        """A model from a Flax Linen module and its variables.

        `variables` holds `params` and, with batch-norm, `batch_stats`. The module runs in
        evaluation mode: construct it so (`use_running_average=True`, `deterministic=True`), or
        say with `call` how it is asked to, for example
        `call=lambda module, inputs: module(inputs, train=False)`. The rest is as in `from_nnx`.

        Raises:
          ValueError: as in `from_nnx`; or there are no `params`, two leaves have the same dotted
            name, or a batch-norm layer is inside a lifted transformation such as `nn.remat`.
        """
        inputs = shape_of_inputs(2, tuple(input_shape), vocabulary)
        forward = forward_from_linen(module, dict(variables), inputs, call)
        tokens = Tokens(vocabulary, padding, start_token)
        label = name or type(module).__name__
        return Model.from_forward(
            forward,
            input_shape,
            name=label,
            prunable=prunable,
            preprocessing=preprocessing,
            tokens=tokens,
        )

    @staticmethod
    def from_fn(
        function: Callable[[Any, Array], Array],
        params: Any,
        input_shape: tuple[int, ...],
        *,
        name: str | None = None,
        prunable: Prunable | None = None,
        preprocessing: Preprocessing | None = None,
        vocabulary: int | None = None,
        padding: bool = False,
        start_token: int = 1,
    ) -> "Model":
        """A model from a pure function `params, inputs [N, ...] -> logits [N, C]`.

        `params` is any pytree. Define the function at module level: searches over equal
        functions share one compiled program. The rest is as in `from_nnx`.

        Raises:
          ValueError: the output is not `[N, C]`, nothing is prunable, or two leaves have the same
            dotted name.
        """
        forward = forward_from_fn(function, params)
        tokens = Tokens(vocabulary, padding, start_token)
        label = name or str(getattr(function, "__name__", "function"))
        return Model.from_forward(
            forward,
            input_shape,
            name=label,
            prunable=prunable,
            preprocessing=preprocessing,
            tokens=tokens,
        )

    @staticmethod
    def from_forward(
        forward: Forward,
        input_shape: tuple[int, ...],
        *,
        name: str,
        prunable: Prunable | None = None,
        preprocessing: Preprocessing | None = None,
        tokens: Tokens = _NO_TOKENS,
    ) -> "Model":
        """A model from a network that is taken apart already. The rest is as in `from_nnx`.

        Raises:
          ValueError: the output is not `[N, C]`, or nothing is prunable.
        """
        wanted = prunable or _is_prunable
        names = tuple(leaf for leaf, array in forward.params.items() if wanted(leaf, array))
        if not names:
            raise ValueError(
                f"{name} has no prunable weight among {sorted(forward.params)}. "
                "Pass prunable=lambda name, leaf: ... to choose which leaves take part."
            )
        inputs = shape_of_inputs(2, tuple(input_shape), tokens.vocabulary)
        logits = jax.eval_shape(forward.apply, forward.params, forward.buffers, inputs)
        per_token = tokens.vocabulary is not None and logits.shape[:-1] == inputs.shape
        if not per_token and (logits.ndim != 2 or logits.shape[0] != 2):
            raise ValueError(
                f"{name} must return logits of shape [N, C]; for inputs {inputs.shape} it returned "
                f"{logits.shape}. Wrap it so that it returns one row of logits per input, or per "
                "token of inputs with a vocabulary=..."
            )
        order = params_in_forward_order(forward.apply, forward.params, forward.buffers, inputs)
        spec = ModelSpec(
            name=name,
            prunable=tuple(leaf for leaf in order if leaf in names),
            input_shape=tuple(input_shape),
            num_outputs=logits.shape[-1],
            vocabulary=tokens.vocabulary,
            padding=tokens.padding and tokens.vocabulary is not None,
            start_token=tokens.start,
            label_shape=tuple(logits.shape[1:-1]),
            norms=forward.norms,
            preprocessing=preprocessing or Preprocessing(),
        )
        return Model(
            forward.apply, forward.params, forward.buffers, spec, forward.observe, forward.stepwise
        )


def fan_in(shape: tuple[int, ...]) -> int:
    """Inputs per output of a Flax kernel: the product of all axes but the last."""
    return math.prod(shape[:-1])


def _is_prunable(name: str, leaf: Array) -> bool:
    """Weights of dense and convolution layers; no biases, norms, embeddings or class tokens."""
    last = name.rsplit(".", 1)[-1].lower()
    named_otherwise = any(word in last for word in ("bias", "scale", "embed"))
    return leaf.ndim >= 2 and fan_in(leaf.shape) > 1 and not named_otherwise
