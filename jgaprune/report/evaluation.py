"""Accuracy and perplexity on labelled data, and a saved run read back for it.

Labels are used here and nowhere in the search, unless its objective is a labelled one.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jgaprune.model import PADDING, Model, Preprocessing
from jgaprune.model.forward import Apply
from jgaprune.report.document import SCHEMA_VERSION
from jgaprune.types import Array, Buffers, Params


@dataclass(frozen=True)
class Run:
    """A saved run, ready to be evaluated.

    Attributes:
      model: the dense model, with the preprocessing of the run.
      params: pruned and repaired parameters.
      buffers: the buffers that go with them.
      document: the content of `report.json`.
    """

    model: Model
    params: Params
    buffers: Buffers
    document: dict[str, Any]


def accuracy(
    model: Model,
    params: Params,
    buffers: Buffers,
    inputs: Array | np.ndarray,
    labels: Array | np.ndarray,
    *,
    batch: int = 256,
) -> float:
    """Fraction of the labels that have the largest logit, 0..1.

    Args:
      model: gives the forward pass.
      params: parameters to evaluate, dense or pruned.
      buffers: the buffers that go with them.
      inputs: `[N, ...]`, model inputs.
      labels: integers `[N]`; for a language model the next tokens, `[N, L]`, of which -1 counts
        for nothing: there is none behind the last one.
      batch: inputs per forward pass; the last batch is padded, so one program runs them all.

    Raises:
      ValueError: there is no input, or not one label per input, or per token.
    """
    counts = _in_batches(_count_correct, model, params, buffers, inputs, labels, batch)
    return sum(int(number) for number in counts) / _num_labels(labels)


def perplexity(
    model: Model,
    params: Params,
    buffers: Buffers,
    inputs: Array | np.ndarray,
    labels: Array | np.ndarray,
    *,
    batch: int = 32,
) -> float:
    """Exponential of the mean cross-entropy to the labels: of a language model, the next tokens.

    1 is certainty, the number of tokens is a mere guess. Args and errors as in `accuracy`; logits
    that are NaN make it infinite.
    """
    parts = _in_batches(_surprise, model, params, buffers, inputs, labels, batch)
    mean = sum(np.asarray(part).sum(dtype=np.float64) for part in parts) / _num_labels(labels)
    with np.errstate(over="ignore"):
        return math.inf if math.isnan(mean) else float(np.exp(np.float64(mean)))


def load_run(folder: str | Path, *, weights: str | Path | None = None) -> Run:
    """Reads a folder that `Report.save` wrote, and the dense weights it was made from.

    Args:
      folder: the run's folder.
      weights: the dense weights, if they are no longer where the run found them.

    Raises:
      ValueError: the folder is no run's, or the dense weights are missing or others.
    """
    place = Path(folder).resolve()
    document = _read_document(place)
    model = _load_dense(document, weights)
    params, buffers = _read_params(place, model)
    return Run(model, params, buffers, document)


def _in_batches(
    measure: Callable[..., Array],
    model: Model,
    params: Params,
    buffers: Buffers,
    inputs: Array | np.ndarray,
    labels: Array | np.ndarray,
    batch: int,
) -> list[Array]:
    count, expected = len(inputs), (len(inputs), *np.shape(inputs)[1 : np.ndim(labels)])
    per_token = model.spec.vocabulary is not None and np.ndim(labels) == 2
    empty = count == 0 or not _num_labels(labels)
    if empty or np.shape(labels) != expected or not (np.ndim(labels) == 1 or per_token):
        raise ValueError(
            f"expected one label per input, or per token, and at least one, got {count} inputs "
            f"and labels of shape {np.shape(labels)}."
        )
    size = min(batch, count)
    return [
        measure(
            model.apply,
            params,
            buffers,
            _padded(np.asarray(inputs[start : start + size]), size, 0),
            _padded(np.asarray(labels[start : start + size]), size, PADDING),
        )
        for start in range(0, count, size)
    ]


def _num_labels(labels: Array | np.ndarray) -> int:
    return int(np.count_nonzero(np.asarray(labels) != PADDING))


@jax.jit
def _surprise(
    apply: Apply, params: Params, buffers: Buffers, inputs: Array, labels: Array
) -> Array:
    """Cross-entropy to every label, in nats: float32 would lose digits in a sum of many."""
    likelihoods = jax.nn.log_softmax(apply(params, buffers, inputs).astype(jnp.float32))
    taken = jnp.take_along_axis(likelihoods, jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return jnp.where(labels == PADDING, 0.0, -taken)


@jax.jit
def _count_correct(
    apply: Apply, params: Params, buffers: Buffers, inputs: Array, labels: Array
) -> Array:
    logits = apply(params, buffers, inputs)
    correct = (jnp.argmax(logits, axis=-1) == labels) & ~jnp.any(jnp.isnan(logits), axis=-1)
    return jnp.sum(correct, dtype=jnp.int32)


def _padded(rows: np.ndarray, size: int, filler: int) -> np.ndarray:
    widths = [(0, size - len(rows)), *[(0, 0)] * (rows.ndim - 1)]
    return np.pad(rows, widths, constant_values=filler)


def _read_document(folder: Path) -> dict[str, Any]:
    path = folder / "report.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["schema_version"]
    except FileNotFoundError:
        raise ValueError(
            f"{folder} is not the folder of a run that has ended: it has no report.json. Give the "
            "folder that --out named; a run that was stopped goes on with jgaprune resume."
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} can't be read ({type(error).__name__}: {error}). Prune again to replace it."
        ) from error
    if version != SCHEMA_VERSION:
        raise ValueError(
            f"{path} has schema version {version}, this jgaprune reads {SCHEMA_VERSION}. Use the "
            f"version that wrote it ({document.get('versions', {}).get('jgaprune')})."
        )
    return document


def _load_dense(document: dict[str, Any], weights: str | Path | None) -> Model:
    """The dense model of a run, checked to be the same weights."""
    from jgaprune import converters

    described = document["model"]
    source = described["source"]
    if source is None:
        raise ValueError(
            "this run was made from a Python object, so its dense weights are in no file. "
            "Evaluate it from Python with jgaprune.report.accuracy, or write it with "
            "jgaprune.converters.export."
        )
    path = Path(weights or source["path"])
    if not path.exists():
        raise ValueError(
            f"the dense weights {path} are not there. Say where they are now with --weights."
        )
    model = converters.load(described["name"], path, **described["config"])
    found = model.spec.source
    if found is None or found.sha256 != source["sha256"]:
        raise ValueError(
            f"{path} is not the file that was pruned: its sha256 differs from {source['sha256']}. "
            "Give the same file with --weights."
        )
    kept = {key: _as_tuple(value) for key, value in described["preprocessing"].items()}
    return model._replace(spec=replace(model.spec, preprocessing=Preprocessing(**kept)))


def _read_params(folder: Path, model: Model) -> tuple[Params, Buffers]:
    """The pruned parameters and buffers, checked against the dense model's."""
    from jgaprune.converters.formats import read

    path = folder / "params"
    if not path.is_dir():
        raise ValueError(f"{folder} has no folder params, so the run is incomplete. Prune again.")
    arrays = read(path).tensors
    expected = {f"params.{name}": leaf.shape for name, leaf in model.params.items()}
    expected |= {f"buffers.{name}": leaf.shape for name, leaf in model.buffers.items()}
    if {name: array.shape for name, array in arrays.items()} != expected:
        raise ValueError(
            f"{path} does not hold the parameters and buffers of {model.spec.name}. The folder "
            "was changed; prune again."
        )
    params = {name: jnp.asarray(arrays[f"params.{name}"]) for name in model.params}
    return params, {name: jnp.asarray(arrays[f"buffers.{name}"]) for name in model.buffers}


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
