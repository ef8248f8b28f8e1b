"""Model inputs and labels from the user's files: `.npy` and `.npz`, never pickles.

What the arrays in them may look like is in `images`.
"""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jgaprune.inputs.images import (
    input_faults,
    prepare,
    to_inputs,
    with_normalisation,
)
from jgaprune.model import PADDING, ModelSpec, label_faults

Images = np.ndarray | jax.Array | str | Path
"""An array, or the path of a `.npy` or `.npz` file."""

_IMAGES, _TOKENS, _LABELS = "images", "tokens", "labels"
_IDS, _MASK, _SEGMENTS = "input_ids", "attention_mask", "token_type_ids"
"""What the tokenizers of transformers call their arrays."""


def read_inputs(
    source: Images,
    spec: ModelSpec,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> np.ndarray:
    """Model inputs `float32 [N, ...]` from an array or a file; labels in it are ignored.

    Args:
      source: an array, a `.npy`, or a `.npz` whose array is named `images` (`tokens` or
        `input_ids` for models that take those) or is the only one. An `attention_mask` beside
        tokens says where they are padding, which becomes -1.
      spec: of the model that the inputs are for.
      mean: per channel, in place of the model's preprocessing.
      std: per channel, in place of the model's preprocessing.

    Raises:
      ValueError: the file can't be read, or the array is not what the model takes; all faults
        are listed.
    """
    if not isinstance(source, str | Path):
        return prepare(source, spec, mean, std)
    path = Path(source)
    arrays = _with_padding(path, _read_arrays(path), spec)
    images = _images_of(path, arrays, _name_for(spec))
    plan = with_normalisation(spec, mean, std)
    _refuse(path, input_faults(images, plan))
    return to_inputs(images, plan)


def read_evaluation_data(
    path: str | Path,
    spec: ModelSpec,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Model inputs `float32 [N, ...]` and labels `int32 [N]`.

    Args:
      path: a `.npz` with the arrays `images` and `labels`; labels count from 0. For a language
        model, the array `tokens` `[N, L + 1]` is enough: the labels are the next tokens. Tokens
        and an `attention_mask` are read as in `read_inputs`.
      spec: of the model that the data is for.
      mean: per channel, in place of the model's preprocessing.
      std: per channel, in place of the model's preprocessing.

    Raises:
      ValueError: the file can't be read, or an array is not what the model takes; all faults
        are listed.
    """
    path = Path(path)
    arrays = _with_padding(path, _read_arrays(path), spec)
    arrays, name = _with_next_tokens(arrays, spec), _name_for(spec)
    plan = with_normalisation(spec, mean, std)
    if missing := [one for one in (name, _LABELS) if one not in arrays]:
        raise ValueError(
            f"{path}: {' and '.join(missing)} missing; labelled data is a .npz with the arrays "
            f"{name} and labels, this file has {', '.join(map(repr, arrays)) or 'none'}."
        )
    images, labels = arrays[name], arrays[_LABELS]
    _refuse(path, input_faults(images, plan) + label_faults(labels, len(images), plan))
    return to_inputs(images, plan), labels.astype(np.int32)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; that of a `.npy` is named `images`."""
    if path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path}: expected a .npy or .npz file; save it with numpy.save.")
    try:
        with path.open("rb") as file:
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {_IMAGES: loaded}
            return {name: loaded[name] for name in loaded.files}
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file.") from None
    except IsADirectoryError:
        raise ValueError(f"{path}: this is a folder; give a .npy or .npz file.") from None
    except PermissionError:
        raise ValueError(f"{path}: no permission to read this file.") from None
    except (ValueError, OSError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path}: holds pickled Python objects or is no NumPy file; nothing was executed. "
                "Save plain arrays: numpy.savez(path, images=numpy.asarray(images))."
            ) from error
        raise ValueError(
            f"{path}: the file is truncated or damaged ({error}). Copy it again."
        ) from error


def _name_for(spec: ModelSpec) -> str:
    return _IMAGES if spec.vocabulary is None else _TOKENS


def _with_padding(
    path: Path, arrays: dict[str, np.ndarray], spec: ModelSpec
) -> dict[str, np.ndarray]:
    """The arrays with padding in the tokens, and no attention mask beside them."""
    if spec.vocabulary is None or not {_IDS, _MASK} & set(arrays):
        return arrays
    arrays = {_TOKENS if name == _IDS else name: array for name, array in arrays.items()}
    tokens, mask = arrays.get(_TOKENS, np.zeros(0, np.int32)), arrays.pop(_MASK, None)
    faults = []
    if mask is not None and (mask.shape != tokens.shape or not np.isin(mask, (0, 1)).all()):
        faults.append(
            f"{_MASK} has shape {mask.shape} and values {np.unique(mask)[:4].tolist()}; expected "
            f"{tokens.shape}, as the tokens have, and 0 for padding, else 1."
        )
    if np.any(arrays.pop(_SEGMENTS, np.zeros(0, np.int32))):
        faults.append(f"{_SEGMENTS} are not all 0; only inputs of a single segment are read.")
    _refuse(path, faults)
    if mask is None:
        return arrays
    # Unsigned tokens have no -1.
    return {**arrays, _TOKENS: np.where(mask == 1, tokens.astype(np.int64), PADDING)}


def _with_next_tokens(arrays: dict[str, np.ndarray], spec: ModelSpec) -> dict[str, np.ndarray]:
    """Windows with a token more than the model takes, as tokens and the ones behind them."""
    windows = arrays.get(_TOKENS)
    if windows is None or _LABELS in arrays or not spec.label_shape or windows.ndim != 2:
        return arrays
    return {**arrays, _TOKENS: windows[:, :-1], _LABELS: windows[:, 1:]}


def _images_of(path: Path, arrays: dict[str, np.ndarray], expected: str) -> np.ndarray:
    for name in (expected, _IMAGES):
        if name in arrays:
            return arrays[name]
    others = [name for name in arrays if name != _LABELS]
    if len(others) == 1:
        return arrays[others[0]]
    raise ValueError(
        f"{path}: expected an array named {expected}, found "
        f"{', '.join(map(repr, arrays)) or 'none'}. Save it with numpy.savez(path, "
        f"{expected}={expected})."
    )


def _refuse(path: Path, faults: list[str]) -> None:
    if faults:
        raise ValueError(f"{path}: {' '.join(faults)}")
