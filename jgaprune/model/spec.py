"""What is known of a model apart from its numbers: names, layouts, preprocessing, source."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

PADDING = -1
"""In place of a token: nothing stands there, and no other position looks at it."""


@dataclass(frozen=True)
class Preprocessing:
    """How stored images become model inputs: `(image / scale - mean) / std`, per channel.

    Attributes:
      mean: per channel, or empty for none.
      std: per channel, or empty for none.
      scale: divisor of the stored values, 255 for uint8 images.
      resize: `(height, width)` to resize to bilinearly beforehand, or None.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float = 255.0
    resize: tuple[int, int] | None = None


@dataclass(frozen=True)
class SourceTensor:
    """Where one leaf comes from, and how to give it back.

    The source array, reshaped to `split` and transposed by `axes`, then reshaped to the
    leaf's shape, is the leaf.

    Attributes:
      name: tensor name in the source, exactly as written there.
      shape: its shape there.
      dtype: its dtype there.
      axes: permutation from (reshaped) source axes to leaf axes.
      split: shape that the source is viewed as before the permutation; for a dense layer
        after a flatten this separates channels, height and width.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[int, ...]
    split: tuple[int, ...]


@dataclass(frozen=True)
class Source:
    """The file a model was loaded from.

    Attributes:
      path: absolute path.
      format: "pth", "safetensors", "npz", "keras", "hdf5", "llama2c", "orbax" or "hf".
      sha256: digest of its bytes.
    """

    path: str
    format: str
    sha256: str


@jax.tree_util.register_static
@dataclass(frozen=True)
class ModelSpec:
    """What is known of a model apart from its numbers. Static: hashes by value.

    Attributes:
      name: architecture name, for example "cifar_resnet20".
      prunable: names of the leaves that take part in pruning, in forward order.
      input_shape: shape of one input, for example `(32, 32, 3)`.
      num_outputs: number of logits, `C`.
      vocabulary: how many tokens there are, where inputs are `int32` tokens in windows of equal
        length, `[N, L]`; None where inputs are floats.
      padding: whether tokens may be `PADDING`, which is -1, in place of an attention mask: what
        the model says elsewhere doesn't depend on what would stand there. Where every token has
        logits, those of padding mean nothing, and nobody looks at them.
      start_token: that a text begins with, where the model writes one.
      label_shape: shape of one input's labels: `()`, or `(L,)` where every token has logits, whose
        shape then is `[N, L, C]`.
      output_names: what the outputs stand for, where the source tells; else empty.
      norms: names of the batch-norm layers, in forward order.
      preprocessing: how stored images become inputs.
      channel_axis: which axis of one input holds the channels: the last, or 0 for networks in
        PyTorch's layout.
      source: the file it came from, or None.
      tensors: `(leaf name, SourceTensor)` for every leaf that came from a file.
      config: the architecture's arguments, as sorted `(name, value)` pairs.
      assumed: names of those that neither the source nor the caller told.
    """

    name: str
    prunable: tuple[str, ...]
    input_shape: tuple[int, ...]
    num_outputs: int
    vocabulary: int | None = None
    padding: bool = False
    start_token: int = 1
    label_shape: tuple[int, ...] = ()
    output_names: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    channel_axis: int = -1
    source: Source | None = None
    tensors: tuple[tuple[str, SourceTensor], ...] = ()
    config: tuple[tuple[str, object], ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def spatial_axes(self) -> tuple[int, ...]:
        """The axes of inputs `[N, ...]` along which there are neighbours: all but the channels.

        >>> ModelSpec("net", (), (3, 8, 8), 10, channel_axis=0).spatial_axes
        (2, 3)
        """
        num_axes = len(self.input_shape)
        channels = self.channel_axis % num_axes
        return tuple(axis + 1 for axis in range(num_axes) if axis != channels)

    def shape_of_inputs(self, num_inputs: int) -> jax.ShapeDtypeStruct:
        """Shape and type of so many inputs."""
        return shape_of_inputs(num_inputs, self.input_shape, self.vocabulary)


def shape_of_inputs(
    num_inputs: int, input_shape: tuple[int, ...], vocabulary: int | None
) -> jax.ShapeDtypeStruct:
    """Shape and type of so many inputs: floats, or tokens of a vocabulary."""
    dtype = jnp.float32 if vocabulary is None else jnp.int32
    return jax.ShapeDtypeStruct((num_inputs, *input_shape), dtype)


def token_faults(tokens: np.ndarray, spec: ModelSpec) -> list[str]:
    """Why an array can't be inputs of a model that takes tokens, one sentence each."""
    last = (spec.vocabulary or 0) - 1
    if tokens.dtype.kind not in "iu":
        return [f"tokens have dtype {tokens.dtype}; expected integers 0..{last}."]
    length, faults = spec.input_shape[0], []
    if tokens.ndim != 2 or tokens.shape[1:] != spec.input_shape or not len(tokens):
        padding = f", padded with {PADDING}" if spec.padding else ", without padding"
        faults.append(
            f"tokens have shape {tokens.shape}; expected (N, {length}): whole windows{padding}. "
            "Cut them so, or load the model with another context."
        )
    real = tokens[tokens != PADDING] if spec.padding else tokens
    if real.size and (real.min() < 0 or real.max() > last):
        faults.append(f"tokens range over {real.min()}..{real.max()}; {spec.name} knows 0..{last}.")
    return faults + (_padding_faults(tokens, spec) if spec.padding and tokens.ndim == 2 else [])


def _padding_faults(tokens: np.ndarray, spec: ModelSpec) -> list[str]:
    """What is wrong with where padding stands."""
    faults, padded = [], tokens == PADDING
    if padded.all(axis=1).any():
        faults.append(f"{padded.all(axis=1).sum()} inputs are padding alone; leave them out.")
    if spec.label_shape and padded[:, :-1][~padded[:, 1:]].any():
        faults.append("a token stands behind padding; pad behind the end (padding_side='right').")
    return faults


def label_faults(labels: np.ndarray, num_inputs: int, spec: ModelSpec) -> list[str]:
    """Why an array can't be the labels of so many inputs, one sentence each.

    Where every token has a label, `PADDING` stands for none.
    """
    if labels.dtype.kind not in "iu":
        return [
            f"labels have dtype {labels.dtype} and shape {labels.shape}; expected integers "
            f"0..{spec.num_outputs - 1} of shape {(num_inputs, *spec.label_shape)}."
        ]
    faults = []
    if labels.shape != (num_inputs, *spec.label_shape):
        each = "token of every input" if spec.label_shape else "input"
        faults.append(
            f"labels have shape {labels.shape}; expected {(num_inputs, *spec.label_shape)}, one "
            f"per {each}."
        )
    if spec.padding and spec.label_shape:
        labels = labels[labels != PADDING]
    if labels.size and (labels.min() < 0 or labels.max() >= spec.num_outputs):
        faults.append(
            f"labels range over {labels.min()}..{labels.max()}; {spec.name} has outputs "
            f"0..{spec.num_outputs - 1}."
        )
    return faults
