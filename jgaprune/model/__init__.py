"""A pre-trained network as pure functions over named arrays."""

from jgaprune.model.forward import Forward
from jgaprune.model.model import Model, Tokens
from jgaprune.model.padding import mean_factor, real_tokens, without_padding
from jgaprune.model.spec import (
    PADDING,
    ModelSpec,
    Preprocessing,
    Source,
    SourceTensor,
    label_faults,
    token_faults,
)

__all__ = [
    "PADDING",
    "Forward",
    "Model",
    "ModelSpec",
    "Preprocessing",
    "Source",
    "SourceTensor",
    "Tokens",
    "label_faults",
    "mean_factor",
    "real_tokens",
    "token_faults",
    "without_padding",
]
