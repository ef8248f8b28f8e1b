"""`Report`: the result of one run as host-side numbers and arrays.

Built by the driver once a search has ended. Its JSON is in `document`, its text in `text`, its
folder in `folder`; nothing here touches the disk before `save`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jgaprune.model import Model
from jgaprune.report.document import to_document
from jgaprune.report.folder import save_folder
from jgaprune.report.text import render
from jgaprune.report.trust import Trust
from jgaprune.types import Buffers, Masks, Params

LABELLED_OBJECTIVES = ("accuracy", "cross_entropy")
"""Objectives that look at labels during the search: the paper's setting."""


@dataclass(frozen=True)
class Measure:
    """What one set of weights is worth.

    Attributes:
      fitness: value of the run's objective, lower is better; None if not evaluated.
      accuracy: fraction 0..1 on the evaluation data; None without them.
      perplexity: on the evaluation data; None without them, and for other than language models.
    """

    fitness: float | None
    accuracy: float | None
    perplexity: float | None = None


@dataclass(frozen=True)
class Baseline:
    """A one-shot method at the same sparsity, without and with the run's repair."""

    raw: Measure
    repaired: Measure


@dataclass
class History:
    """How the search went: one entry per recorded generation, generation 0 first.

    Attributes:
      evaluations: candidates evaluated so far.
      best: best fitness so far.
      mean_fitness: mean fitness of the generation.
      diversity: spread of the population, as the engine defines it.
      accuracy: `(evaluations, accuracy of the best so far)`; empty without evaluation data.
    """

    evaluations: list[int] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    mean_fitness: list[float] = field(default_factory=list)
    diversity: list[float] = field(default_factory=list)
    accuracy: list[tuple[int, float]] = field(default_factory=list)


class LayerCount(NamedTuple):
    """How much of one prunable tensor is left."""

    size: int
    kept: int

    @property
    def sparsity(self) -> float:
        """Fraction removed, 0..1.

        >>> LayerCount(size=10, kept=3).sparsity
        0.7
        """
        return (self.size - self.kept) / self.size


@dataclass(frozen=True)
class Report:
    """What a run found, what it is worth, and everything needed to repeat it.

    Attributes:
      model: the dense model.
      params: pruned and repaired parameters.
      buffers: the buffers that go with them.
      masks: the best masks found.
      target_sparsity: fraction of the prunable weights that was to be removed.
      objective: its name, "output_distance" for example; "custom" for the caller's own.
      fitness: `start`, the best of generation 0, and `best`, the best of the run.
      baselines: one-shot methods at the same sparsity, by name.
      accuracy: `dense` and `pruned`, fractions on the evaluation data; None without them. For a
        language model, of the next tokens.
      history: how the search went.
      evaluations: candidates evaluated.
      generations: generations run.
      seconds: wall time of each phase: `inputs`, `compile`, `search`, `total` and so on.
      winner: which of the candidates the result is.
      candidates: what the choice at the end was made from, by name: fitness on inputs held out
        from search and repair, None where none were, and accuracy.
      settings: everything needed to repeat the run, JSON values only; `repair` is falsy for a
        run without repair.
      interrupted: True if the run was stopped before its budget was used.
      warnings: sentences that a reader of the numbers should know.
      trust: how far fitness can be trusted, as far as the run has looked.
      perplexity: `dense` and `pruned`, of a language model on the evaluation data; else None.
    """

    model: Model = field(repr=False)
    params: Params = field(repr=False)
    buffers: Buffers = field(repr=False)
    masks: Masks = field(repr=False)
    target_sparsity: float
    objective: str
    fitness: dict[str, float]
    baselines: dict[str, Baseline]
    accuracy: dict[str, float] | None
    history: History
    evaluations: int
    generations: int
    seconds: dict[str, float]
    settings: Mapping[str, object]
    winner: str = "evolved"
    candidates: Mapping[str, Measure] = field(default_factory=dict)
    interrupted: bool = False
    warnings: tuple[str, ...] = ()
    trust: Trust = Trust()
    perplexity: dict[str, float] | None = None

    @property
    def layers(self) -> dict[str, LayerCount]:
        """Size and kept weights of every prunable tensor, by its name in the source."""
        sources = dict(self.model.spec.tensors)
        return {
            sources[leaf].name if leaf in sources else leaf: _count(self.masks[leaf])
            for leaf in self.model.spec.prunable
        }

    @property
    def sparsity(self) -> float:
        """Fraction of the prunable weights that is removed."""
        layers = self.layers.values()
        return LayerCount(sum(n.size for n in layers), sum(n.kept for n in layers)).sparsity

    @property
    def uses_labels(self) -> bool | None:
        """Whether the search itself looked at labels; None, not known, for a custom objective."""
        return None if self.objective == "custom" else self.objective in LABELLED_OBJECTIVES

    @property
    def is_repaired(self) -> bool:
        """Whether masked weights were repaired; the setting `repair` names how."""
        return bool(self.settings.get("repair", True))

    def to_json(self) -> dict[str, Any]:
        """The content of `report.json`: strings, finite numbers, lists, dicts and None only."""
        return to_document(self)

    def summary(self) -> str:
        """The content of `report.txt`: the run in aligned text tables."""
        return render(self)

    def save(self, out: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the whole run into the folder `out`, or nothing at all.

        Args:
          out: the folder to make; its parents are made too.
          overwrite: replace an existing folder, once the new one is complete. A folder that
            is no run's is not deleted but renamed to `<out>.old`.

        Returns:
          The absolute path of the folder.

        Raises:
          SaveError: `out` exists and `overwrite` is False, or it cannot be written; an OSError.
        """
        return save_folder(self, out, overwrite=overwrite).place


def _count(mask: Any) -> LayerCount:
    kept = np.asarray(mask)
    return LayerCount(kept.size, int(kept.sum()))
