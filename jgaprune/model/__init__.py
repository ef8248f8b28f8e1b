"""A pre-trained network as pure functions over named arrays."""

from jgaprune.model.forward import Forward
from jgaprune.model.model import Model
from jgaprune.model.spec import (
    ModelSpec,
    Preprocessing,
    Source,
    SourceTensor,
    label_faults,
    token_faults,
)

__all__ = [
    "Forward",
    "Model",
    "ModelSpec",
    "Preprocessing",
    "Source",
    "SourceTensor",
    "label_faults",
    "token_faults",
]
