"""Quantised checkpoints: their tensors are codes and scales, so zeros and masks mean nothing there.

Told from the names that the usual tools leave, and from matrices of bytes.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.formats.hf_index import listing

_MARKS = {
    "GPTQ or AWQ": r"qweight|qzeros",
    "bitsandbytes": r"SCB|absmax|nested_absmax|quant_map|nested_quant_map|quant_state\..+",
    "compressed-tensors or FP8 with scales": r"weight_packed|weight_scale|weight_scale_inv",
    "HQQ": r"W_q",
    "torch.ao": r"_packed_params(\..+)?",
}
_ADVICE = (
    "Take the model from before it was quantised, in float32, float16 or bfloat16; or undo it "
    "where it was made, in transformers: model.dequantize().save_pretrained(folder)"
)


def refuse_quantised(
    tensors: Mapping[str, np.ndarray], config: Mapping[str, Any] | None = None
) -> None:
    """Raises unless the tensors are plain weights, and the `config.json` beside them says so.

    Raises:
      ConversionError: they are those of a quantised model; the message says by what it is known.

    >>> refuse_quantised({"fc.weight": np.ones((2, 2)), "fc.count": np.ones((), np.int64)})
    """
    told = (config or {}).get("quantization_config")
    if told is not None:
        method = told.get("quant_method") if isinstance(told, dict) else told
        raise ConversionError(
            f"config.json says that the model is quantised, by {method!r:.60}. {_ADVICE}. If the "
            "weights are plain ones, remove quantization_config from it."
        )
    for tool, pattern in _MARKS.items():
        if found := [name for name in tensors if re.search(rf"(^|\.)({pattern})$", name)]:
            raise ConversionError(
                f"the model is quantised, by {tool}: {listing(found)}. {_ADVICE}."
            )
    weights = {name: array for name, array in tensors.items() if _is_weight(name, array)}
    found = [name for name, array in weights.items() if array.dtype in (np.int8, np.uint8)]
    if 2 * len(found) > len(weights):  # A few may be a fault of their own.
        raise ConversionError(
            f"the model is quantised: its weights are bytes: {listing(found)}. {_ADVICE}."
        )


def _is_weight(name: str, array: np.ndarray) -> bool:
    return array.ndim > 1 and re.search(r"(^|\.)(weight|kernel)$", name) is not None
