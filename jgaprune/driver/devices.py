"""On which devices a run searches, and with how many populations that evolve apart."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
from jax.sharding import Mesh

from jgaprune.engine import Islands, make_mesh, mesh_fault, num_shares
from jgaprune.types import Evolver

_WITHOUT_MEMBERS = ("random_search", "evosax:", "paper")
"""Evolvers by name, or how their names begin, that keep no members which could migrate."""


@dataclass(frozen=True)
class Devices:
    """What the caller asked for.

    Attributes:
      mesh: or its text, such as `pop=8`; None for one device, or all where there are several
        processes.
      islands: populations that evolve apart.
      migrate_every: generations from one exchange between islands to the next.
      migrants: that leave each island at once.
    """

    mesh: Mesh | str | None = None
    islands: int = 1
    migrate_every: int = 10
    migrants: int = 1

    def made(self) -> "Devices":
        """The same with a mesh in place of its text, or of none.

        Raises:
          ValueError: the text is no mesh, or there are too few devices.
        """
        asked = self.mesh
        if asked is None and jax.process_count() > 1:
            asked = f"pop={jax.device_count()}"
        return replace(self, mesh=make_mesh(asked)) if isinstance(asked, str) else self

    def faults(self, evolver: str | Evolver) -> list[str]:
        """What is wrong with it, alone and with an evolver, in words."""
        numbers = {name: value for name, value in vars(self).items() if name != "mesh"}
        found = [
            f"{name} must be a whole number, got {value!r}"
            for name, value in numbers.items()
            if not isinstance(value, int)
        ]
        try:
            mesh = self.made().mesh
        except ValueError as error:
            return [*found, str(error).rstrip(".")]
        fault = None if mesh is None else mesh_fault(mesh)
        if found or fault:
            return [*found, *([fault] if fault else [])]
        asked = Islands(self.islands, self.migrate_every, self.migrants)
        found = asked.faults(mesh)  # type: ignore[arg-type]
        if self.islands > 1 and isinstance(evolver, str) and evolver.startswith(_WITHOUT_MEMBERS):
            found.append(
                f"{evolver} keeps no members that islands could exchange; use genetic or "
                "level_switch, or one island"
            )
        return found

    def share_of(self, population: int) -> int:
        """Candidates of a generation that one device evaluates at a time, one island of it."""
        if self.islands > 1:
            return population
        return -(-population // num_shares(self.mesh))  # type: ignore[arg-type]

    def options(self) -> dict[str, Any]:
        """For `build_search`."""
        return vars(self)

    def described(self) -> dict[str, Any]:
        """As JSON values; what islands exchange only where there are some."""
        told: dict[str, Any] = asdict(replace(self, mesh=None))
        if self.islands == 1:
            told |= {"migrate_every": None, "migrants": None}
        axes = self.mesh.shape.items() if isinstance(self.mesh, Mesh) else ()
        return told | {"mesh": ",".join(f"{name}={size}" for name, size in axes) or None}


ONE_DEVICE = Devices()
"""The default one, and one population."""
