"""Runs on 8 fake devices that are stopped and gone on with on fewer, in a process of its own.

    python resume_runs.py FOLDER

Ends with an error unless all end as a run that was never stopped and had one device.
`test_resume_devices.py` runs it.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from device_runs import INPUTS, MODEL  # makes the devices

import jgaprune as jp

CALL: dict[str, Any] = {
    "sparsity": 0.5,
    "inputs": INPUTS,
    "supplement": False,
    "space": "offsets,weights",
    "gradient_swaps": False,
    "generations": 9,
    "strategy": "sequential",
}
WAYS = {"masks": {"population": 6}, "islands": {"population": 3, "islands": 8, "migrate_every": 2}}
DEVICES = (("pop=8", 3), ("pop=4", 6), (None, None))
"""A mesh after the other, and the generation at which the run is stopped there."""


class StopError(Exception):
    """What stops a run."""


def prune(mesh: str | None, stop: int | None, folder: Path | None, **changed: Any) -> jp.Report:
    def watch(progress: jp.Progress) -> None:
        if stop and progress.phase == "search" and (progress.generation or 0) >= stop:
            raise StopError

    kept = folder and jp.Checkpoints(folder, every=1, resume=True)
    return jp.prune(MODEL, **CALL, **changed, mesh=mesh, checkpoint_dir=kept, on_record=watch)


def main() -> None:
    for name, changed in WAYS.items():
        whole, folder = prune(None, None, None, **changed), Path(sys.argv[1]) / name
        for mesh, stop in DEVICES:
            try:
                report = prune(mesh, stop, folder, **changed)
            except StopError:
                continue
        assert report.history == whole.history, name
        for leaf, mask in whole.masks.items():
            assert np.array_equal(mask, report.masks[leaf]), (name, leaf)
        assert report.generations == 9 and len(set(report.history.mean_fitness)) > 5


if __name__ == "__main__":
    main()
