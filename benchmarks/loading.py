"""How much memory and time does it take to open a weight file, and to load it as a model?

A perceptron with random weights is written in every format, in shards too. A process of its own
reads each, and another one loads it. Memory is the highest resident set (Linux's `VmHWM`) less that
of the same process after it loaded a tiny model of the same kind: imports and compiling are not
counted, pages of the file that are resident are. Files are in the cache of the system.

    python benchmarks/loading.py --megabytes 500

`--smoke` runs a tiny case and keeps nothing.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
from documents import document, out_path, parser, write

from jgaprune import converters
from jgaprune.checkpoint import save_tree
from jgaprune.converters.formats import (
    read,
    torch_available,
    write_npz,
    write_pth,
    write_safetensors,
)

Tensors = dict[str, np.ndarray]
_NUM_SHARDS = 4


def main() -> None:
    """Measures every format and writes one JSON file."""
    options = _options()
    if options.measure:
        print(json.dumps(_measure(options.measure, options.tiny, options.only_open)))
        return
    cells: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in _CASES:
            if "pth" in name and not torch_available():
                print(f"{name:>22}: left out, torch is not installed", flush=True)
                continue
            cells.append({"format": name, **_cell(name, Path(folder), options)})
            print(_line(cells[-1]), flush=True)
    if not options.smoke:
        write(options.out, document(__doc__, width=options.width, cells=cells))


def _options() -> argparse.Namespace:
    arguments = parser(__doc__)
    arguments.add_argument("--megabytes", type=int, default=500, help="size of a file, 1e6 bytes")
    arguments.add_argument("--width", type=int, default=3584, help="of every layer")
    arguments.add_argument("--folder", help="for the files")
    arguments.add_argument("--measure", help=argparse.SUPPRESS)
    arguments.add_argument("--tiny", help=argparse.SUPPRESS)
    arguments.add_argument("--only-open", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.smoke:
        options.megabytes, options.width = 4, 256
    options.out = out_path(options, "loading")
    return options


def _cell(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One format: memory as a multiple of the file's size, and seconds."""
    dtype, save = _CASES[name]
    path, tiny = folder / "weights", folder / "tiny"
    save(tiny, _weights(options.width // 64, 2, dtype))
    depth = max(1, round(1e6 * options.megabytes / (np.dtype(dtype).itemsize * options.width**2)))
    save(path, _weights(options.width, depth, dtype))
    size = sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else 0
    size = size or path.stat().st_size
    script = [sys.executable, __file__, "--measure", str(path), "--tiny", str(tiny)]
    outputs = [
        subprocess.run([*script, *more], capture_output=True, text=True, check=True).stdout
        for more in (["--only-open"], [])
    ]
    subprocess.run(["rm", "-r", str(path), str(tiny)], check=True)
    opened, loaded = (json.loads(output) for output in outputs)
    return {
        "file_megabytes": size / 1e6,
        "open_seconds": opened["seconds"],
        "open_memory": opened["peak_bytes"] / size,
        "load_seconds": loaded["seconds"],
        "load_memory": loaded["peak_bytes"] / size,
    }


def _measure(path: str, tiny: str, only_open: bool) -> dict[str, float]:
    """In a process of its own: the highest memory beyond what a tiny file took, and seconds."""
    converters.load("mlp", tiny)
    before, start = _highest_bytes(), time.perf_counter()
    if only_open:
        kept: Any = read(path)
    else:
        kept = jax.block_until_ready(converters.load("mlp", path).params)
    seconds = time.perf_counter() - start
    peak = _highest_bytes() - before
    del kept
    return {"seconds": seconds, "peak_bytes": peak}


def _highest_bytes() -> int:
    """`ru_maxrss` would not do: it starts at what the parent had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def _weights(width: int, depth: int, dtype: Any) -> Tensors:
    rng = np.random.default_rng(0)
    return {
        f"layers.{number}.weight": rng.standard_normal((width, width), np.float32).astype(dtype)
        for number in range(depth)
    }


def _save_shards(path: Path, tensors: Tensors) -> None:
    path.mkdir()
    weight_map = {}
    for number in range(_NUM_SHARDS):
        shard = f"model-{number + 1:05d}-of-{_NUM_SHARDS:05d}.safetensors"
        names = [*tensors][number::_NUM_SHARDS]
        if names:
            write_safetensors(path / shard, {name: tensors[name] for name in names})
        weight_map |= dict.fromkeys(names, shard)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def _line(cell: dict[str, Any]) -> str:
    return (
        f"{cell['format']:>22} {cell['file_megabytes']:6.0f} MB: open "
        f"{cell['open_memory']:5.2f}x in {cell['open_seconds']:5.2f} s, load "
        f"{cell['load_memory']:5.2f}x in {cell['load_seconds']:5.2f} s"
    )


_CASES: dict[str, tuple[Any, Callable[[Path, Tensors], object]]] = {
    "safetensors": (np.float32, write_safetensors),
    "safetensors, 4 shards": (np.float32, _save_shards),
    "pth": (np.float32, write_pth),
    "npz": (np.float32, write_npz),
    "orbax": (np.float32, lambda path, tensors: save_tree(path, dict(tensors))),
    "safetensors, bfloat16": (ml_dtypes.bfloat16, write_safetensors),
    "pth, bfloat16": (ml_dtypes.bfloat16, write_pth),
}


if __name__ == "__main__":
    main()
