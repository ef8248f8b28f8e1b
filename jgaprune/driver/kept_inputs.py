"""Inputs made from the model, kept in the user's cache: the same model and key give the same ones.

They cost minutes and depend on nothing but the model, the key, their number and the machine's
rounding, so a second run, at another sparsity for example, need not make them again. Those not
used for longest go when they take too much space.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.cache import cache_folder
from jgaprune.inputs import Inversion, Synthesis, invert, sample_tokens, synthesize
from jgaprune.model import Model, ModelSpec
from jgaprune.types import Array, Key
from jgaprune.version import __version__

_NUM_TOKENS = 2**15
"""Tokens in all windows: a search sees them over and over."""
_NUM_WINDOWS = (16, 512)
_MOST_BYTES = 10**9
"""Of the folder: about 150 times 512 colour images of 32x32."""


def synthesized(model: Model, key: Key, num_inputs: int) -> Array:
    """`synthesize`, or `invert` without batch-norm, or what they made before of the same.

    A cache that cannot be read or written is no fault: the inputs are made.
    """
    make = synthesize if model.shows_norms else invert
    return _kept(model, key, num_inputs, lambda: make(model, key, num_inputs))


def sampled(model: Model, key: Key, num: int) -> Array:
    """Windows of text from `sample_tokens`, as long as the model takes, or what it wrote before."""
    length = model.spec.input_shape[0]
    return _kept(model, key, num, lambda: sample_tokens(model, key, num, length))


def num_windows(spec: ModelSpec) -> int:
    """So many that they hold some 32 000 tokens."""
    fewest, most = _NUM_WINDOWS
    return min(most, max(fewest, _NUM_TOKENS // spec.input_shape[0]))


def _kept(model: Model, key: Key, num_inputs: int, make: Callable[[], Array]) -> Array:
    path = cache_folder("inputs") / f"{_digest(model, key, num_inputs)}.npy"
    kept = _read(path, model.spec.shape_of_inputs(num_inputs))
    if kept is not None:
        return kept
    inputs = make()
    _write(path, np.asarray(inputs))
    _forget_oldest(path.parent)
    return inputs


def _digest(model: Model, key: Key, num_inputs: int) -> str:
    """Of all that the inputs depend on."""
    digest = hashlib.sha256()
    device = jax.devices()[0]
    spec = replace(model.spec, source=None)  # the same weights in another file
    shape = spec.shape_of_inputs(1)
    program = str(jax.make_jaxpr(model.apply)(model.params, model.buffers, shape))
    digest.update(re.sub("0x[0-9a-f]+", "", program).encode())  # addresses differ between runs
    from_file = model.spec.source is not None  # then its preprocessing is believed
    settings = (Synthesis(), Inversion(), from_file)
    told = (spec, num_inputs, settings, __version__, jax.__version__, device.device_kind)
    digest.update(repr((told, os.cpu_count(), str(jax.random.key_impl(key)))).encode())
    for leaf in jax.tree.leaves((model.params, model.buffers, jax.random.key_data(key))):
        array = np.asarray(leaf)
        digest.update(repr((array.shape, str(array.dtype))).encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _forget_oldest(folder: Path) -> None:
    """Deletes the files that were used longest ago while the folder is too large."""
    try:
        found = [(path, path.stat()) for path in folder.glob("*.npy")]
    except OSError:
        return
    spare = _MOST_BYTES
    for path, about in sorted(found, key=lambda one: one[1].st_mtime_ns, reverse=True):
        spare -= about.st_size
        if spare < 0:
            with suppress(OSError):
                path.unlink()


def _read(path: Path, expected: jax.ShapeDtypeStruct) -> Array | None:
    try:
        kept = np.load(path, allow_pickle=False)
        os.utime(path)
    except (OSError, ValueError, EOFError):
        return None
    same = kept.shape == expected.shape and kept.dtype == expected.dtype
    usable = same and np.isfinite(kept).all()
    return jnp.asarray(kept) if usable else None


def _write(path: Path, inputs: np.ndarray) -> None:
    """Whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            partial = Path(folder) / path.name
            np.save(partial, inputs)
            os.replace(partial, path)
    except OSError:
        return
