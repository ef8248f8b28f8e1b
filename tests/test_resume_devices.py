"""A run that is stopped on 8 devices goes on on 4, and on 1, to the same masks."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

SCRIPT = Path(__file__).with_name("resume_runs.py")


@pytest.mark.slow
def test_from_8_devices_to_4_and_1(tmp_path):
    usual = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # as in conftest.py
    programs = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir or ""}
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path],
        env=usual | programs | os.environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
