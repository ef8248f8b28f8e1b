"""The arrays of a run on disk: masks, and pruned weights for Flax and for the source's framework.

Imported only when a report is saved: the core does not depend on converters.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from jgaprune import converters
from jgaprune.checkpoint import save_tree
from jgaprune.converters.formats import (
    FormatError,
    torch_available,
    write_llama2c,
    write_npz,
    write_pth,
    write_safetensors,
)
from jgaprune.report.report import Report
from jgaprune.types import Buffers, Params


def write_weights(report: Report, folder: Path) -> tuple[str, ...]:
    """Writes masks and pruned weights into an existing folder.

    Args:
      report: what was found.
      folder: receives `masks.npz`, `params/` and `pruned.safetensors`; `pruned.pth` too if
        the source was one and torch is installed, `pruned.bin` if it was one of llama2.c.

    Returns:
      Warnings: the source's layout needs the source file, and a search must not be lost
      because that file was moved or overwritten meanwhile, or holds a type that can't be written.

    Raises:
      FormatError: the operating system refuses, for example because the disk is full.
    """
    masks = converters.masks_to_source(report.model, report.masks)
    write_npz(folder / "masks.npz", converters.pack_masks(masks))
    write_tree(folder / "params", {"params": report.params, "buffers": report.buffers})
    return _write_for_source(report, folder)


def write_tree(path: Path, tree: dict[str, Params | Buffers]) -> None:
    """Writes named arrays as an Orbax folder.

    The room for them is taken and given back first: a full disk is an OSError here, whereas
    Orbax fails from several threads at once, each with a traceback on stderr.
    """
    probe = path.with_name(f"{path.name}.room")
    with probe.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, sum(leaf.nbytes for leaf in jax.tree.leaves(tree)))
    probe.unlink()
    save_tree(path, tree)


def _write_for_source(report: Report, folder: Path) -> tuple[str, ...]:
    """Writes the pruned weights for the source's framework; returns warnings."""
    source = report.model.spec.source
    try:
        tensors = converters.to_source(report.model, report.params, report.buffers)
    except converters.ConversionError as error:
        return (f"pruned.safetensors was not written: {error}",)
    warnings = _write(write_safetensors, folder / "pruned.safetensors", tensors)
    if source and source.format == "pth" and torch_available():
        warnings += _write(write_pth, folder / "pruned.pth", tensors)
    if source and source.format == "llama2c":
        warnings += _write(write_llama2c, folder / "pruned.bin", tensors)
    return warnings


def _write(
    write: Callable[[Path, Mapping[str, Any]], None], path: Path, tensors: Mapping[str, Any]
) -> tuple[str, ...]:
    """Writes one file; returns a warning where a type is at fault, and not the disk."""
    try:
        write(path, tensors)
    except FormatError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return (f"{path.name} was not written: {error}",)
    return ()
