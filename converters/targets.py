"""`export`: pruned weights as files that the framework they came from loads.

A target is a form of file, or for Hugging Face a folder. Tensors keep the names, layouts and
dtypes of the source, so that `load_state_dict(strict=True)` takes them.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jgaprune.converters.errors import ConversionError
from jgaprune.converters.export import masks_to_source, to_source
from jgaprune.converters.formats import write_keras, write_npz, write_pth, write_safetensors
from jgaprune.converters.formats.hf_writer import find_hf_folder, write_hf
from jgaprune.converters.masks_file import pack_masks
from jgaprune.model import Model, Source
from jgaprune.types import Buffers, Masks, Params

Tensors = Mapping[str, np.ndarray]
_FLAX_FORMATS = ("orbax",)
_KERAS_SUFFIXES = {"keras": (".keras",), "hdf5": (".weights.h5", ".h5", ".hdf5")}
"""How files of each format of Keras are called."""


class Exported(NamedTuple):
    """What `export` wrote.

    Attributes:
      weights: absolute path of the file, or of the folder.
      masks: of the masks file; None where no masks were given.
      num_tensors: how many tensors there are in the weights.
    """

    weights: Path
    masks: Path | None
    num_tensors: int


class _Target(NamedTuple):
    """A form: how its files may be called (a folder if empty), and how it is written."""

    suffixes: tuple[str, ...]
    write: Callable[[Path, Tensors, Source | None], None]


def export(
    model: Model,
    params: Params,
    buffers: Buffers,
    *,
    to: str,
    out: str | os.PathLike[str],
    masks: Masks | None = None,
    overwrite: bool = False,
) -> Exported:
    """Writes pruned weights for the framework they came from, all files or none.

    Args:
      model: as loaded; its file must still be there, unchanged.
      params: pruned ones, by leaf name, such as `Report.params`.
      buffers: the running statistics that go with them.
      to: "torch" (a state_dict by torch.save), "safetensors", "npz", "keras" (for models from a
        Keras file), or "hf" (a folder as `from_pretrained` takes it, for models from one).
      out: the file, whose suffix must be one of the form, or the folder, which must be empty or
        not be there.
      masks: by leaf name. They are written in bits (`masks_file`), beside a file `NAME.pth` as
        `NAME.masks.npz`, in a folder as `masks.npz`.
      overwrite: whether files that are there may be replaced.

    Raises:
      ConversionError: the target doesn't go with `out` or with the model's source, or the
        source is gone or has changed. Nothing was written.
      FormatError: a dtype can't be stored in this form, or writing failed. Nothing was written.
      OSError: the operating system refused. Nothing was written.
    """
    weights_path = check_target(to, out, overwrite=overwrite)
    target, source = _TARGETS[to], model.spec.source
    _check_source(to, source, weights_path)
    tensors = to_source(model, params, buffers)
    masks_path = None if masks is None else _masks_path(weights_path, target)
    packed = None if masks is None else pack_masks(masks_to_source(model, masks))
    with tempfile.TemporaryDirectory(dir=weights_path.parent, prefix=".export-") as scratch:
        draft = Path(scratch) / weights_path.name
        target.write(draft, tensors, source)
        if packed is not None:
            write_npz(_masks_path(draft, target), packed)
        if target.suffixes:
            _put_both(draft, weights_path, target)
        else:
            _put_in_place(draft, weights_path)
    return Exported(weights_path, masks_path, len(tensors))


def check_target(to: str, out: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Checks that a target can be written at `out`; changes nothing.

    Returns:
      The absolute path.

    Raises:
      ConversionError: there is no such target, or it can't be there; all faults are listed.
    """
    if to not in _TARGETS:
        raise ConversionError(f"unknown target {to!r}. Known: {', '.join(_TARGETS)}.")
    path, target = Path(os.path.abspath(os.path.expanduser(out))), _TARGETS[to]
    faults = []
    if not path.parent.is_dir():
        faults.append(f"there is no folder {path.parent}; make it, or choose another place")
    elif not os.access(path.parent, os.W_OK | os.X_OK):
        faults.append(f"no permission to write into {path.parent}; choose another place")
    if target.suffixes:
        faults += _file_faults(path, to, target, overwrite)
    elif path.exists() and not (path.is_dir() and not any(path.iterdir())):
        faults.append(f"{path} exists, and {to} makes a new folder; choose another name")
    if faults:
        raise ConversionError("; ".join(faults) + ".")
    return path


def _check_source(to: str, source: Source | None, path: Path) -> None:
    """Raises ConversionError unless a target at `path` goes with where the model came from."""
    origin = source.path if source else "a Python object"
    others = "Choose torch, safetensors or npz"
    if to == "hf" and (source is None or find_hf_folder(source.path) is None):
        raise ConversionError(
            f"hf needs the folder that the model came from, with its config.json; this one came "
            f"from {origin}. {others}."
        )
    if to != "keras":
        return
    suffixes = _KERAS_SUFFIXES.get(source.format) if source else None
    if suffixes is None:
        raise ConversionError(
            f"keras needs a model from a Keras file; this one came from {origin}. {others}."
        )
    if not path.name.endswith(suffixes):
        raise ConversionError(
            f"keras makes a copy of {origin}, so {path.name} must end in {' or '.join(suffixes)}."
        )


def _file_faults(path: Path, to: str, target: _Target, overwrite: bool) -> list[str]:
    faults = []
    if not path.name.endswith(target.suffixes):
        faults.append(f"{to} makes a file {' or '.join(target.suffixes)}, not {path.name}")
    if path.is_dir():
        faults.append(f"{path} is a folder; give a file name in it")
        return faults
    taken = [str(one) for one in (path, _masks_path(path, target)) if one.exists()]
    if taken and not overwrite:
        faults.append(
            f"{' and '.join(taken)} exist{'s' if len(taken) == 1 else ''}; choose another name, "
            "or allow to replace (--overwrite, in Python overwrite=True)"
        )
    return faults


def _masks_path(weights: Path, target: _Target) -> Path:
    if not target.suffixes:
        return weights / "masks.npz"
    suffix = next((one for one in target.suffixes if weights.name.endswith(one)), "")
    return weights.with_name(f"{weights.name.removesuffix(suffix)}.masks.npz")


def _put_both(draft: Path, weights: Path, target: _Target) -> None:
    """Weights and masks in place of earlier ones, which stay if that fails."""
    masks, drafted = _masks_path(weights, target), _masks_path(draft, target)
    earlier = draft.with_name("earlier")
    if masks.exists():
        os.replace(masks, earlier)
    try:
        if drafted.exists():
            os.replace(drafted, masks)
        _put_in_place(draft, weights)
    except OSError:
        masks.unlink(missing_ok=True)
        if earlier.exists():
            os.replace(earlier, masks)
        raise


def _put_in_place(draft: Path, place: Path) -> None:
    if draft.is_dir():
        if place.exists():
            place.rmdir()
        shutil.move(draft, place)
    else:
        os.replace(draft, place)


def _write_torch(path: Path, tensors: Tensors, source: Source | None) -> None:
    write_pth(path, tensors)


def _write_safetensors(path: Path, tensors: Tensors, source: Source | None) -> None:
    in_flax = source is not None and source.format in _FLAX_FORMATS
    write_safetensors(path, tensors, None if in_flax else {"format": "pt"})


def _write_npz(path: Path, tensors: Tensors, source: Source | None) -> None:
    write_npz(path, tensors)


def _write_keras(path: Path, tensors: Tensors, source: Source | None) -> None:
    assert source  # `_check_source` has seen to it.
    write_keras(path, dict(tensors), source=Path(source.path))


def _write_hf(path: Path, tensors: Tensors, source: Source | None) -> None:
    folder = source and find_hf_folder(source.path)
    assert folder  # `_check_source` has seen to it.
    write_hf(path, tensors, source=folder)


_TARGETS = {
    "torch": _Target((".pth", ".pt", ".th", ".bin"), _write_torch),
    "safetensors": _Target((".safetensors",), _write_safetensors),
    "hf": _Target((), _write_hf),
    "keras": _Target(sum(_KERAS_SUFFIXES.values(), ()), _write_keras),
    "npz": _Target((".npz",), _write_npz),
}
TARGETS = tuple(_TARGETS)
"""Names of the forms, for `export`."""
