"""A contact sheet: model inputs as the images that they stand for, side by side in one PNG."""

import math
from pathlib import Path

import numpy as np

from jgaprune.inputs.images import to_images
from jgaprune.model import ModelSpec

_MOST = 100
_GAP = 1


def draw_sheet(inputs: np.ndarray, spec: ModelSpec, path: Path) -> bool:
    """Writes the first hundred inputs as a square of images.

    Args:
      inputs: `float32 [N, ...]`, model inputs.
      spec: of the model that they are for.
      path: of the PNG.

    Returns:
      Whether there is a sheet: not of inputs that can't be seen as images.
    """
    images = to_images(inputs[:_MOST], spec)
    if images is None:
        return False
    # Matplotlib takes a second to import.
    from matplotlib.image import imsave

    imsave(path, tiled(images), format="png")
    return True


def tiled(images: np.ndarray) -> np.ndarray:
    """Images `uint8 [N, H, W, 3]` as one, row by row, with white lines between them."""
    num, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(num))
    rows = math.ceil(num / columns)
    tall, wide = height + _GAP, width + _GAP
    sheet = np.full((rows * tall - _GAP, columns * wide - _GAP, channels), 255, np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * tall, number % columns * wide
        sheet[top : top + height, left : left + width] = image
    return sheet
