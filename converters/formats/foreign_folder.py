"""Folders that are not read, and the way that works instead."""

import os
import re
from collections.abc import Collection

from jgaprune.converters.formats.foreign import DISTRIBUTED_ADVICE, TENSORFLOW_ADVICE


def explain_foreign_folder(folder: str, inside: Collection[str]) -> str | None:
    """What a foreign folder is and what to do instead, as the end of a sentence; None if unknown.

    Args:
      folder: its path.
      inside: names of what is in it.
    """
    if {"saved_model.pb", "saved_model.pbtxt"} & set(inside):
        place = os.path.join(folder, "variables", "variables")
        return (
            f"is a TensorFlow SavedModel, which isn't read. {TENSORFLOW_ADVICE.format(path=place)}"
        )
    if any(name.endswith(".distcp") for name in inside):
        advice = DISTRIBUTED_ADVICE.replace("FOLDER", folder)
        return f"is a sharded checkpoint of torch.distributed (FSDP), which isn't read. {advice}"
    if "zero_to_fp32.py" in inside or any(_is_deepspeed(name) for name in inside):
        return (
            "is a sharded checkpoint of DeepSpeed, which isn't read. Merge it with the script that "
            f"DeepSpeed put there: python zero_to_fp32.py {folder} OUT"
        )
    for name in inside:
        if name.endswith(".index") and _has_data(name.removesuffix(".index"), inside):
            place = os.path.join(folder, name.removesuffix(".index"))
            return (
                "is a TensorFlow checkpoint, which isn't read. "
                f"{TENSORFLOW_ADVICE.format(path=place)}"
            )
    if "adapter_config.json" in inside:
        return (
            "holds an adapter without the model that it changes. Merge them, with peft: "
            "AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload()"
            ".save_pretrained('merged')"
        )
    return None


def _is_deepspeed(name: str) -> bool:
    return re.fullmatch(r"(bf16_)?(zero_pp_rank_\d+_)?mp_rank_\d+.*_states\.pt", name) is not None


def _has_data(stem: str, inside: Collection[str]) -> bool:
    return any(name.startswith(f"{stem}.data-") for name in inside)
