"""From image arrays to model inputs: shapes, preprocessing, and why an array is refused.

uint8 arrays are images, `[N, H, W, channels]` or, if grey, `[N, H, W]`; they go through the
model's preprocessing. Float arrays are model inputs already and are only checked. Images with
the channels first are refused with the fix rather than guessed; that a model takes its inputs so
(`ModelSpec.channel_axis`) changes nothing about images. Reading files is in `files`.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import jax
import numpy as np

from jgaprune.model import ModelSpec, Preprocessing, token_faults

_ROUNDING = 1e-4
"""Of pixels in 0..1."""
_FAR = 16.0
"""Where no normalised pixel comes to."""


def prepare(
    images: np.ndarray | jax.Array,
    spec: ModelSpec,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> np.ndarray:
    """Model inputs `float32 [N, ...]` from uint8 images, or from inputs made beforehand.

    Args:
      images: uint8 images, or floats of the shape `[N, ...]` that the model takes; or tokens
        `[N, L]`, which become `int32`, where it takes those.
      spec: of the model that the inputs are for.
      mean: per channel, in place of the model's preprocessing.
      std: per channel, in place of the model's preprocessing.

    Raises:
      ValueError: the array is not what the model takes; all faults are listed.
    """
    images = np.asarray(images)
    plan = with_normalisation(spec, mean, std)
    if faults := input_faults(images, plan):
        raise ValueError(" ".join(faults))
    return to_inputs(images, plan)


def with_normalisation(
    spec: ModelSpec, mean: Sequence[float] | None, std: Sequence[float] | None
) -> ModelSpec:
    """The spec with other means and deviations in its preprocessing, where given.

    Raises:
      ValueError: they are not one number, or one per channel, or a deviation is not positive.
    """
    old = spec.preprocessing
    new = replace(
        old,
        mean=old.mean if mean is None else tuple(float(value) for value in mean),
        std=old.std if std is None else tuple(float(value) for value in std),
    )
    channels = spec.input_shape[spec.channel_axis] if len(spec.input_shape) == 3 else None
    faults = [
        f"{name} needs 1 number{f' or {channels}, one per channel' if channels else ''}, "
        f"got {list(values)}."
        for name, values in (("mean", new.mean), ("std", new.std))
        if len(values) > 1 and len(values) != channels
    ]
    if any(value <= 0 for value in new.std):
        faults.append(f"std must be positive, got {list(new.std)}.")
    if not all(map(math.isfinite, (*new.mean, *new.std))):
        faults.append(f"mean and std must be finite, got {list(new.mean)} and {list(new.std)}.")
    if faults:
        raise ValueError(" ".join(faults))
    return replace(spec, preprocessing=new)


def input_faults(images: np.ndarray, spec: ModelSpec) -> list[str]:
    """Why an array can't become inputs of the model, one sentence each; empty if it can."""
    if spec.vocabulary is not None:
        return token_faults(images, spec)
    is_image = images.dtype == np.uint8
    if not is_image and images.dtype.kind != "f":
        return [
            f"images have dtype {images.dtype}; expected uint8 images, or floats that are model "
            "inputs already. Convert 0..255 integers with .astype(numpy.uint8)."
        ]
    faults = []
    resize = spec.preprocessing.resize if is_image else None
    expected = _image_shape(spec) if is_image else spec.input_shape
    if _arranged(images.shape, expected, resize) is None:
        faults.append(_explain_shape(images.shape, expected, resize))
    if images.ndim and len(images) == 0:
        faults.append("there are no images; at least one is needed.")
    if not is_image and (bad := _count_not_finite(images)):
        faults.append(f"{bad} of {images.size} values are NaN or infinite; remove or repair them.")
    elif not is_image:
        faults += scale_faults(images, spec)
    return faults


def scale_faults(inputs: np.ndarray, spec: ModelSpec) -> list[str]:
    """Why floats can't be normalised inputs of the model: they are 0..255, as images are stored.

    Only where the model's inputs are known to be normalised, and some pixel is bright.
    """
    if not spec.preprocessing.mean or not inputs.size:
        return []
    if inputs.min() < 0 or not _FAR < inputs.max() <= 255 or (inputs != np.rint(inputs)).any():
        return []
    return [
        f"images are whole numbers up to {inputs.max():.0f}, as floats; floats are taken for "
        f"inputs that are normalised already, and those of {spec.name} are small. Give the "
        "images as they are stored, .astype(numpy.uint8), or normalise them."
    ]


def to_inputs(images: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Inputs `float32 [N, ...]`, or tokens `int32 [N, L]`, from an array without `input_faults`."""
    if spec.vocabulary is not None:
        return images.astype(np.int32)
    plan = spec.preprocessing
    if images.dtype != np.uint8:
        return images.astype(np.float32).reshape(len(images), *spec.input_shape)
    shape = _arranged(images.shape, _image_shape(spec), plan.resize)
    pixels = images.reshape(shape).astype(np.float32) / np.float32(plan.scale)
    if plan.resize and pixels.shape[1:3] != plan.resize:
        pixels = _resized(pixels, plan.resize)
    pixels = _normalised(pixels, plan)
    if _has_channels_first(spec):
        pixels = np.moveaxis(pixels, -1, 1)
    return pixels.reshape(len(images), *spec.input_shape)


def to_images(inputs: np.ndarray, spec: ModelSpec) -> np.ndarray | None:
    """Images `uint8 [N, H, W, 3]` that inputs stand for, for people to look at.

    Their own range is stretched where it is not that of images. Vectors of square length are
    taken for square images.

    Returns:
      None where inputs are neither.
    """
    if _has_channels_first(spec):
        inputs = np.moveaxis(inputs, 1, -1)
    shape = inputs.shape[1:]
    side = math.isqrt(math.prod(shape))
    if len(shape) == 1 and side > 1 and side * side == shape[0]:
        shape = (side, side, 1)
    if len(shape) != 3 or shape[2] not in (1, 3):
        return None
    plan = spec.preprocessing
    pixels = inputs.reshape(len(inputs), *shape)
    pixels = pixels * np.asarray(plan.std or (1.0,)) + np.asarray(plan.mean or (0.0,))
    pixels = pixels * (plan.scale / 255.0)
    low, high = pixels.min(), pixels.max()
    if low < -_ROUNDING or high > 1.0 + _ROUNDING:
        pixels = (pixels - low) / max(high - low, _ROUNDING)
    return np.broadcast_to(np.rint(255 * pixels).clip(0, 255), (*pixels.shape[:3], 3)).astype(
        np.uint8
    )


def _has_channels_first(spec: ModelSpec) -> bool:
    return spec.channel_axis == 0 and len(spec.input_shape) == 3


def _image_shape(spec: ModelSpec) -> tuple[int, ...]:
    """Shape of one image as it is stored, channels last."""
    channels, *rest = spec.input_shape
    return (*rest, channels) if _has_channels_first(spec) else spec.input_shape


def _count_not_finite(values: np.ndarray) -> int:
    """As float32, which is what the model computes in."""
    with np.errstate(over="ignore"):
        return values.size - int(np.count_nonzero(np.isfinite(values.astype(np.float32))))


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear between pixel centres; with a wider filter where the image shrinks."""
    shape = (pixels.shape[0], *size, pixels.shape[3])
    return np.asarray(jax.image.resize(pixels, shape, "linear"))


def _normalised(pixels: np.ndarray, plan: Preprocessing) -> np.ndarray:
    if plan.mean:
        pixels = pixels - np.asarray(plan.mean, np.float32)
    if plan.std:
        pixels = pixels / np.asarray(plan.std, np.float32)
    return pixels


def _arranged(
    shape: tuple[int, ...], expected: tuple[int, ...], resize: tuple[int, int] | None
) -> tuple[int, ...] | None:
    """The shape with a channel axis, if such images can become inputs; None if they can't.

    >>> _arranged((5, 28, 28), (28, 28, 1), None)
    (5, 28, 28, 1)
    >>> _arranged((5, 3, 32, 32), (32, 32, 3), None) is None
    True
    """
    if len(shape) == 3 and (len(expected) == 1 or expected[-1] == 1):
        shape = (*shape, 1)
    final = shape[1:]
    if resize and len(shape) == 4 and min(shape[1:]) > 0:
        final = (*resize, shape[3])
    # The order in which colour images were flattened is the model's secret.
    flattens = len(expected) == 1 and len(final) == 3 and final[2] == 1
    fits = final == expected or (flattens and math.prod(final) == expected[0])
    return shape if len(shape) > 1 and fits else None


def _explain_shape(
    shape: tuple[int, ...], expected: tuple[int, ...], resize: tuple[int, int] | None
) -> str:
    wanted = ", ".join(map(str, expected))
    if resize and len(expected) == 3:
        wanted = f"height, width, {expected[2]}"
    text = f"images have shape {shape}; expected (N, {wanted})"
    if len(expected) == 1 and len(shape) == 4 and math.prod(shape[1:]) == expected[0]:
        return (
            f"{text}. Say how they are flattened: --arch-config input_shape=height,width,channels."
        )
    channels_first = len(shape) == 4 and len(expected) == 3 and shape[1] == expected[2]
    if channels_first and shape[3] != expected[2]:
        return f"{text}. The channels seem to be first: save images.transpose(0, 2, 3, 1) instead."
    if shape == expected:
        return f"{text}. Add the axis of images: images[None]."
    if len(expected) == 3 and expected[2] == 1:
        text += f" or (N, {wanted.removesuffix(', 1')})"
    return f"{text}. Bring the images into the form that the model was trained on."
