"""How does a search scale over devices, and how much travels between them in a generation?

Strong scaling: one population over 1 to 8 devices. Weak scaling: as many masks per device on any
number of them. Both also over the devices of two processes. Each number of devices is measured by
processes of its own, on fake devices of one CPU unless there are others; on fake ones, which share
the cores, only the bytes say something about real ones, and the time says what sharing out costs.
Bytes are read from the compiled program of one generation, beside the minimum: four per mask, its
fitness.

    python benchmarks/devices.py --inputs 64 --population 32 --islands 8

`--smoke` runs a tiny case and keeps nothing.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
from documents import SPARSITY, document, out_path, parser, spread, write

from jgaprune import (
    build_search,
    converters,
    distributed,
    evolvers,
    make_mesh,
    objectives,
    repair,
    spaces,
)
from jgaprune.agreement import wait_for_all
from jgaprune.bench import in_turns
from jgaprune.bench.collectives import collectives
from jgaprune.bench.timing import Runner
from jgaprune.engine import Search
from jgaprune.saliency import magnitude

_BYTES_OF_FITNESS = 4
_PORT = 12_357


def main() -> None:
    """Runs every number of devices in a process, and writes one JSON file after each."""
    if distributed.is_announced():
        distributed.initialize()
    options = _options()
    if options.devices:
        print(json.dumps(_measured(options)))
        return
    cells: list[dict[str, Any]] = []
    for processes, count in itertools.product(options.processes, options.counts):
        for scaling in ("strong", "weak") if count % processes == 0 else ():
            cell = _in_processes(options, processes, count, scaling)
            cells.append({"scaling": scaling, "processes": processes, **cell})
            print(_line(cells[-1]), flush=True)
            if not options.smoke:
                write(options.out, document(__doc__, arch=options.arch, cells=cells))


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--arch", default="cifar_resnet20")
    made.add_argument("--inputs", type=int, default=64)
    made.add_argument("--population", type=int, default=32, help="of all devices; strong scaling")
    made.add_argument("--each", type=int, default=4, help="masks per device; weak scaling")
    made.add_argument("--islands", type=int, default=1)
    made.add_argument("--counts", nargs="+", type=int, default=[1, 2, 4, 8])
    made.add_argument("--processes", nargs="+", type=int, default=[1, 2])
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("--devices", type=int, help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.smoke:
        options.arch, options.inputs, options.rounds = "lenet5", 4, 1
        options.population, options.each, options.counts = 4, 2, [1, 2]
    options.out = out_path(options, "devices")
    return options


def _in_processes(
    options: argparse.Namespace, processes: int, count: int, scaling: str
) -> dict[str, Any]:
    """What processes with so many devices together measure; the first one tells."""
    settings = {
        "devices": count,
        "arch": options.arch,
        "inputs": options.inputs,
        "population": options.population if scaling == "strong" else options.each * count,
        "islands": options.islands,
        "rounds": options.rounds,
    }
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, str(Path(__file__)), *arguments]
    places = [_environment(count // processes, index, processes) for index in range(processes)]
    started = [
        subprocess.Popen(command, env=one, stdout=subprocess.PIPE, text=True) for one in places
    ]
    told = [one.communicate()[0] for one in started]
    if any(one.returncode for one in started):
        raise SystemExit(f"{' '.join(command)} failed")
    return json.loads(told[0].splitlines()[-1])


def _environment(devices: int, index: int, processes: int) -> dict[str, str]:
    """Of one process: its fake devices, and how it finds the others."""
    flag = f"--xla_force_host_platform_device_count={devices}"
    own = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()}
    if processes > 1:
        own |= {
            "JGAPRUNE_COORDINATOR": f"127.0.0.1:{_PORT}",
            "JGAPRUNE_NUM_PROCESSES": str(processes),
            "JGAPRUNE_PROCESS_ID": str(index),
        }
    return os.environ | own


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and bytes of one generation on so many devices."""
    search = _search(options)
    sent = collectives(search.lower()[1].compile().as_text())
    wait_for_all()
    runners = {"generation": _generations(search)}
    # Processes must not decide each for itself how often.
    timing = in_turns(runners, rounds=options.rounds, at_least_seconds=0.0)["generation"]
    by_kind: dict[str, int] = {}
    for one in sent:
        by_kind[one.kind] = by_kind.get(one.kind, 0) + one.num_bytes
    return {
        "devices": options.devices,
        "population": options.population,
        "islands": options.islands,
        "seconds": spread(timing),
        "bytes": sum(by_kind.values()),
        "bytes_by_kind": by_kind,
        "bytes_at_least": 0 if options.devices == 1 else _BYTES_OF_FITNESS * options.population,
    }


def _generations(search: Search) -> Runner:
    """One generation after another."""
    states = [search.init(jax.random.key(0))[0]]

    def run() -> None:
        states[0], _ = search.step(states[0])
        jax.block_until_ready(states[0].best.fitness)

    return run


def _search(options: argparse.Namespace) -> Search:
    """Packed masks under the default evolver, statistics repaired."""
    model = converters.untrained(options.arch)
    inputs = jax.random.normal(jax.random.key(1), (options.inputs, *model.spec.input_shape))
    space = spaces.weights(magnitude(model.params, model.layout, SPARSITY), model.layout, SPARSITY)
    of_island = max(2, options.population // options.islands)
    return build_search(
        space,
        objectives.output_distance(model, repair=repair.batch_norm_delta(model, inputs)),
        evolvers.genetic(space, population=of_island),
        population=of_island,
        mesh=make_mesh(f"pop={options.devices}") if options.devices > 1 else None,
        islands=options.islands,
    )


def _line(cell: dict[str, Any]) -> str:
    return (
        f"{cell['scaling']:6} {cell['processes']} processes, {cell['devices']} devices, "
        f"{cell['population']} masks, "
        f"{cell['islands']} islands: {1e3 * cell['seconds']['median']:.1f} ms per generation, "
        f"{cell['bytes']} bytes (at least {cell['bytes_at_least']})"
    )


if __name__ == "__main__":
    main()
