"""Several processes, each with devices of its own, that run one search together.

All of them make the same calls with the same arguments. How they are connected is said here;
`agreement` is what they tell each other.
"""

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import NoReturn

import jax
from jax.experimental import multihost_utils

_VARIABLES = {
    "coordinator": "JGAPRUNE_COORDINATOR",
    "num_processes": "JGAPRUNE_NUM_PROCESSES",
    "process_id": "JGAPRUNE_PROCESS_ID",
}
_TIMEOUT = "xla_cpu_collective_timeout_seconds"
_TIMEOUT_SECONDS = 600
_LEAVING_SECONDS = 30
"""One that ends while others are at work waits so long for them; JAX then ends them, too."""
Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]
"""What Python calls with an error that nobody caught."""
_TRANSPORTS = ("Gloo ", "NCCL ")
LOST = (
    "another process of this run has ended, or can't be reached: see what that one says. A run "
    "that is kept (--checkpoint-every) goes on from its last checkpoint with jgaprune resume."
)


def initialize(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """Connects this process with the others, before anything else is done with JAX.

    What is left out is taken from the variables `JGAPRUNE_COORDINATOR`, `JGAPRUNE_NUM_PROCESSES`
    and `JGAPRUNE_PROCESS_ID`. Where nothing is said at all, JAX finds the others on a cluster that
    it knows: Slurm, Kubernetes, a TPU pod, Open MPI. CPUs talk through gloo.

    From then on an error that nobody catches ends this process without waiting for the others,
    which would wait for it.

    Args:
      coordinator: address and port of process 0, such as `10.0.0.1:1234`.
      num_processes: of the run.
      process_id: of this one, from 0.

    Raises:
      ValueError: only some of the three are said, a number is none, or there is no such cluster.
    """
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    address, count, own = _settings(given, os.environ)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    _wait_for_slow_ones()
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM for itself
    try:
        jax.distributed.initialize(address, count, own, shutdown_timeout_seconds=_LEAVING_SECONDS)
    except ValueError as error:
        if address is not None:
            raise
        raise ValueError(
            f"no cluster that JAX knows was found ({str(error).rstrip('.')}): Slurm, Kubernetes, a "
            "TPU pod or Open MPI. Elsewhere give a coordinator, the number of processes and this "
            "one's id."
        ) from error
    multihost_utils.sync_global_devices("jgaprune")  # CPUs find each other now, while all are here
    if jax.process_count() > 1:
        sys.excepthook = partial(_tell_and_leave, sys.excepthook)


def is_announced() -> bool:
    """Whether variables say that this is one of several processes."""
    return any(variable in os.environ for variable in _VARIABLES.values())


def has_lost_others(error: BaseException) -> bool:
    """Whether an error, which may be of any type, says that another process can't be reached."""
    return jax.process_count() > 1 and any(name in str(error) for name in _TRANSPORTS)


def leave(code: int) -> NoReturn:
    """Ends this process at once, where leaving in order would wait for the others."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _tell_and_leave(
    tell: Hook, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    tell(kind, error, trace)
    if has_lost_others(error):
        print(f"jgaprune: {LOST}", file=sys.stderr)
    leave(1)


def _wait_for_slow_ones() -> None:
    """CPUs give each other time to compile: else gloo gives up after half a minute."""
    flags = os.environ.get("XLA_FLAGS", "")
    if _TIMEOUT not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{_TIMEOUT}={_TIMEOUT_SECONDS}".strip()


def _settings(
    given: Mapping[str, str | int | None], environment: Mapping[str, str]
) -> tuple[str | None, int | None, int | None]:
    """Arguments before variables; all three or none.

    >>> _settings({"coordinator": "a:1", "num_processes": 2}, {"JGAPRUNE_PROCESS_ID": "1"})
    ('a:1', 2, 1)
    """
    found = {
        name: environment.get(variable) if given.get(name) is None else given[name]
        for name, variable in _VARIABLES.items()
    }
    missing = [name for name, value in found.items() if value is None]
    if len(missing) == len(found):
        return None, None, None
    if missing:
        named = ", ".join(f"{name} ({_VARIABLES[name]})" for name in missing)
        raise ValueError(
            f"several processes need a coordinator, their number and their own id: {named} not "
            "given. Give all three, or none on a cluster that JAX knows."
        )
    numbers = [str(found[name]) for name in ("num_processes", "process_id")]
    if not all(number.isdecimal() for number in numbers):
        raise ValueError(f"num_processes and process_id must be whole numbers, got {numbers}.")
    count, own = map(int, numbers)
    if own >= count:
        raise ValueError(f"process_id must be below num_processes, got {own} of {count}.")
    return str(found["coordinator"]), count, own
