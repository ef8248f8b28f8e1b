"""The arrays of a run on disk: masks, and pruned weights for Flax and for the source's framework.

Imported only when a report is saved: the core does not depend on converters.
"""

from pathlib import Path

from jgaprune import converters
from jgaprune.checkpoint import save_tree
from jgaprune.converters.formats import torch_available, write_npz, write_pth, write_safetensors
from jgaprune.report.report import Report


def write_weights(report: Report, folder: Path) -> tuple[str, ...]:
    """Writes masks and pruned weights into an existing folder.

    Args:
      report: what was found.
      folder: receives `masks.npz`, `params/` and `pruned.safetensors`; `pruned.pth` too if
        the source was one and torch is installed.

    Returns:
      Warnings: the source's layout needs the source file, and a search must not be lost
      because that file was moved meanwhile.
    """
    model = report.model
    masks = converters.masks_to_source(model, report.masks)
    write_npz(folder / "masks.npz", converters.pack_masks(masks))
    save_tree(folder / "params", {"params": report.params, "buffers": report.buffers})
    try:
        tensors = converters.to_source(model, report.params, report.buffers)
    except converters.ConversionError as error:
        return (f"pruned.safetensors was not written: {error}",)
    write_safetensors(folder / "pruned.safetensors", tensors)
    if model.spec.source and model.spec.source.format == "pth" and torch_available():
        write_pth(folder / "pruned.pth", tensors)
    return ()
