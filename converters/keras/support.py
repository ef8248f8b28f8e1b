"""Which saved layers are computed here, and what to say of the others."""

import json
from typing import Any

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.keras.activations import ACTIVATIONS
from jgaprune.converters.keras.graph import Graph, Layer
from jgaprune.converters.keras.network import KINDS

FROM_KERAS = (
    "Load the model in Keras, with its JAX backend, and use jgaprune.converters.from_keras(model)."
)


def check_supported(graph: Graph, path: str) -> None:
    """Raises ConversionError that lists every layer and setting that isn't computed here."""
    faults = [
        f"{layer.path} ({fault})" for layer in graph.layers.values() for fault in _faults(layer)
    ]
    faults += graph.faults
    if faults:
        raise ConversionError(
            f"{path}: {len(faults)} layers or settings are not supported in files: "
            f"{'; '.join(faults)}. {FROM_KERAS}"
        )


def activation_name(config: dict[str, Any]) -> str:
    """The name of a layer's activation, or something that no activation is called."""
    name = config.get("activation") or "linear"
    if isinstance(name, dict) and name.get("class_name") == "function":
        name = name.get("config")
    return name if isinstance(name, str) else json.dumps(name)


def _faults(layer: Layer) -> list[str]:
    if not _is_keras_layer(layer.module):
        return [f"{layer.class_name:.60} of {layer.module:.60}"]
    if layer.class_name not in KINDS:
        return [f"{layer.class_name:.60}"]
    faults = KINDS[layer.class_name].faults(layer.config)
    name = activation_name(layer.config)
    policy = layer.config.get("dtype")
    is_quantised = isinstance(policy, dict) and "Quantized" in str(policy.get("class_name"))
    return [
        *faults,
        *([] if name in ACTIVATIONS else [f"activation {name:.60}"]),
        *(["quantised"] if is_quantised else []),
    ]


def _is_keras_layer(module: str) -> bool:
    return module in ("", "keras.layers") or module.startswith("keras.src.layers.")
