"""Starts the command line as several processes on this machine."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jgaprune.converters.formats import write_safetensors

PATIENCE = 300


class Ended(NamedTuple):
    """How a process ended, and what it said."""

    code: int
    out: str
    err: str


def write_files(folder: Path) -> None:
    """Weights of an MLP, and inputs for it."""
    draw = np.random.default_rng(0)
    shapes = {"fc1.weight": (12, 16), "fc1.bias": (12,), "fc2.weight": (5, 12), "fc2.bias": (5,)}
    tensors = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    write_safetensors(folder / "mlp.safetensors", tensors)
    np.save(folder / "inputs.npy", draw.normal(size=(9, 16)).astype(np.float32))


def start(folders: Sequence[Path], *arguments: str) -> list[subprocess.Popen[str]]:
    """A process in each folder; the first is process 0."""
    usual = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # as in conftest.py
    usual["JAX_COMPILATION_CACHE_DIR"] = jax.config.jax_compilation_cache_dir or ""
    shared = ["--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", str(len(folders))]
    return [
        subprocess.Popen(
            [*(sys.executable, "-m", "jgaprune"), *arguments, *shared, "--process-id", str(index)],
            cwd=folder,
            env=usual | os.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, folder in enumerate(folders)
    ]


def ends_of(processes: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    """Waits for all; none is left behind."""
    try:
        told = [process.communicate(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        Ended(process.returncode, *texts) for process, texts in zip(processes, told, strict=True)
    ]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
