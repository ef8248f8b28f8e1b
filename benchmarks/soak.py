"""Does a run that is killed again and again end as one that never was, and in the same memory?

`jgaprune prune` on the digits network, once undisturbed and once killed (SIGKILL) after random
times, each time gone on with by `jgaprune resume` until it is over. Both must leave the same masks,
the same weights and the same `history.jsonl`, but for its seconds; the folder of the second must
hold nothing but what belongs there. Both run side by side and write checkpoints. Memory is that of
the undisturbed process while it searches. With `--devices` the CPU stands for so many, and the
population lies on all.

    python benchmarks/soak.py --generations 150 --every 1 --kill-after 1 14 --kills 50
    python benchmarks/soak.py --generations 150 --every 1 --kill-after 1 20 --kills 50 --devices 8
    python benchmarks/soak.py --generations 24000 --every 20s --kill-after 120 300

Writes a JSON file and ends with 1 if anything differs. `--smoke` kills one short run once.
"""

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from documents import document, out_path, parser, write

_SEARCH = (
    *("--sparsity", "0.9", "--space", "offsets", "--repair", "batch_norm_delta"),
    *("--population", "8", "--num-inputs", "64", "--quiet"),
)
_MOST_LIVES = 1_000


class Life(NamedTuple):
    """One process: how it ended, how long it was there, and its memory in MiB, second by second."""

    code: int
    seconds: float
    mebibytes: list[float]


def main() -> None:
    """Runs both, compares them and writes what was found."""
    options = _options()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with ThreadPoolExecutor(1) as beside:
            undisturbed = beside.submit(_live, _prune(options, folder / "whole"), None, options)
            lives, in_saves = _killed(options, folder)
            whole = undisturbed.result()
        if whole.code:
            raise SystemExit(f"the undisturbed run ended with {whole.code}")
        found = {
            "generations": options.generations,
            "every": options.every,
            "devices": options.devices,
            "kill_after": options.kill_after,
            "undisturbed": {"seconds": whole.seconds, "mebibytes": _memory(whole)},
            "lives": len(lives),
            "kills": sum(life.code == -signal.SIGKILL for life in lives),
            "kills_in_a_save": in_saves,
            "longest_life": max(life.seconds for life in lives),
            "different": _differences(folder),
            "stray": _stray(folder / "cut.checkpoints"),
        }
    print(json.dumps(found, indent=1))
    if not options.smoke:
        write(out_path(options, "soak"), document(__doc__, **found))
    sys.exit(1 if found["different"] or found["stray"] else 0)


def _options() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--generations", type=int, default=150)
    made.add_argument("--every", default="1", help="as prune --checkpoint-every takes it")
    made.add_argument("--kill-after", type=float, nargs=2, default=(1.0, 14.0), metavar="S")
    made.add_argument("--kills", type=int, default=_MOST_LIVES, help="at most")
    made.add_argument("--devices", type=int, default=1, help="that the CPU stands for")
    made.add_argument("--seed", type=int, default=0)
    options = made.parse_args()
    if options.smoke:
        options.generations, options.kills, options.kill_after = 6, 1, (8.0, 8.0)
    return options


def _prune(options: argparse.Namespace, out: Path) -> list[str]:
    assets = files("jgaprune.assets")
    network = ["--weights", str(assets / "digits_cnn.pth")]
    network += ["--eval-data", str(assets / "digits_test.npz"), "--out", str(out)]
    mesh = _mesh(options)
    length = ["--generations", str(options.generations), "--checkpoint-every", options.every]
    return ["prune", *network, *_SEARCH, *mesh, *length]


def _mesh(options: argparse.Namespace) -> list[str]:
    return ["--mesh", f"pop={options.devices}"] if options.devices > 1 else []


def _killed(options: argparse.Namespace, folder: Path) -> tuple[list[Life], int]:
    """All processes of the disturbed run, and how often a checkpoint was being written."""
    draw, lives, in_saves = random.Random(options.seed), list[Life](), 0
    kept = folder / "cut.checkpoints"
    while not lives or lives[-1].code:
        if len(lives) > _MOST_LIVES:
            raise SystemExit("it does not end")
        command = _prune(options, folder / "cut")
        if (kept / "manifest.json").exists():
            command = ["resume", str(kept), "--quiet", *_mesh(options)]
        kills = sum(life.code == -signal.SIGKILL for life in lives)
        limit = draw.uniform(*options.kill_after) if kills < options.kills else None
        lives.append(_live(command, limit, options))
        if lives[-1].code not in (0, -signal.SIGKILL):
            raise SystemExit(f"{' '.join(command)} ended with {lives[-1].code}")
        in_saves += bool(list(kept.glob("*/*.orbax-checkpoint-tmp")))
    return lives, in_saves


def _live(command: list[str], limit: float | None, options: argparse.Namespace) -> Life:
    """Runs a command, and kills it after so many seconds if it is still there."""
    started, mebibytes = time.monotonic(), list[float]()
    flags = f"--xla_force_host_platform_device_count={options.devices}"
    process = subprocess.Popen(
        [sys.executable, "-m", "jgaprune", *command],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"},
    )
    while process.poll() is None:
        if limit is not None and time.monotonic() - started > limit:
            process.kill()
        mebibytes.append(_resident(process.pid))
        time.sleep(0.05 if limit is not None else 1.0)
    return Life(process.returncode, time.monotonic() - started, mebibytes)


def _resident(pid: int) -> float:
    """MiB in memory; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _memory(life: Life) -> dict[str, float]:
    """Medians of the second and the last quarter of a process."""
    quarter = max(1, len(life.mebibytes) // 4)
    second, last = life.mebibytes[quarter : 2 * quarter], life.mebibytes[-quarter:]
    return {
        "second_quarter": statistics.median(second or last),
        "last_quarter": statistics.median(last),
        "most": max(life.mebibytes),
    }


def _differences(folder: Path) -> list[str]:
    """What is not the same in both results."""
    masks = [dict(np.load(folder / run / "masks.npz")) for run in ("whole", "cut")]
    same = masks[0].keys() == masks[1].keys()
    same = same and all(np.array_equal(masks[0][name], masks[1][name]) for name in masks[0])
    found = [] if same else ["masks.npz"]
    weights = [(folder / run / "pruned.safetensors").read_bytes() for run in ("whole", "cut")]
    found += ["pruned.safetensors"] if weights[0] != weights[1] else []
    reports = [json.loads((folder / run / "report.json").read_text()) for run in ("whole", "cut")]
    found += ["history"] if reports[0]["history"] != reports[1]["history"] else []
    lines = (folder / "cut.checkpoints" / "history.jsonl").read_text().splitlines()
    series: dict[str, list[Any]] = {
        name: [json.loads(line)[name] for line in lines]
        for name in ("best", "mean_fitness", "diversity", "evaluations")
    }
    found += [f"history.jsonl: {n}" for n, row in series.items() if row != reports[0]["history"][n]]
    return found


def _stray(kept: Path) -> list[str]:
    """What does not belong into a run's folder."""
    expected = {"manifest.json", "lock", "history.jsonl", "prepared", "checkpoints"}
    stray = [path.name for path in kept.iterdir() if path.name not in expected]
    stray += [path.name for path in (kept / "prepared").iterdir() if path.name != "0"]
    steps = [path.name for path in (kept / "checkpoints").iterdir()]
    stray += [name for name in steps if not name.isdigit()]
    return stray + sorted(steps)[2:]


if __name__ == "__main__":
    main()
