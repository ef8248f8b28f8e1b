"""The arguments of `prune` that decide the result, as one value."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jgaprune.driver.budget import Budget
from jgaprune.driver.devices import Devices
from jgaprune.driver.measure import EvaluationData
from jgaprune.driver.plan import Spaces
from jgaprune.driver.racing import Looks
from jgaprune.engine import Strategy
from jgaprune.model import Model
from jgaprune.types import Array, Evolver, Key, Masks, Objective, Repair


class Call(NamedTuple):
    """What `prune` was asked for; its documentation says what each is."""

    model: Model
    sparsity: float
    inputs: Array | np.ndarray | None
    supplement: bool
    num_inputs: int | None
    labels: Array | np.ndarray | None
    space: Spaces
    objective: str | Objective
    evolver: str | Evolver
    repair: str | Repair
    preset: str
    train_steps: int | None
    gradient_swaps: bool
    racing: Looks
    seeds: bool
    seed_masks: Masks | Sequence[Masks] | None
    population: int | None
    key: int | Key
    chunk: int | str
    strategy: str | Strategy
    devices: Devices
    memory_limit: int | None
    evaluation_data: EvaluationData | None

    @property
    def leaves_chunk_open(self) -> bool:
        """Whether any chunk will do."""
        return self.chunk == "auto" and isinstance(self.strategy, str)

    @property
    def given_masks(self) -> tuple[Masks, ...]:
        """The caller's masks, however many."""
        given = self.seed_masks
        return () if given is None else (given,) if isinstance(given, dict) else tuple(given)

    def decisive(self) -> dict[str, Any]:
        """All but the model, which is described for itself, and the device, which may change."""
        described = ("model", "devices", "memory_limit")
        told = {name: value for name, value in self._asdict().items() if name not in described}
        told["seed_masks"] = self.given_masks or None
        apart = ("islands", "migrate_every", "migrants")
        return told | {name: getattr(self.devices, name) for name in apart}

    def for_all(self) -> dict[str, Any]:
        """What several processes must have in common: that, and what they run on."""
        mesh = self.devices.described()["mesh"] or str(self.devices.mesh)
        return self.decisive() | {"mesh": mesh, "memory_limit": self.memory_limit}


def as_asked(arguments: Mapping[str, Any]) -> tuple[Call, Budget]:
    """The arguments of `prune` by name, in order."""
    repair = arguments["repair"]
    if isinstance(repair, bool):
        repair = "auto" if repair else "none"
    devices = Devices(*(arguments[name] for name in _OF_DEVICES))
    names = [name for name in Call._fields if name not in ("repair", "devices")]
    call = Call(**{name: arguments[name] for name in names}, repair=repair, devices=devices)
    return call, Budget(*(arguments[name] for name in _OF_BUDGET))


_OF_DEVICES = ("mesh", "islands", "migrate_every", "migrants")
_OF_BUDGET = ("evaluations", "generations", "seconds", "target_fitness", "patience")
