"""Where a run took place: versions of what it stands on, and the device."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax

from jgaprune.version import __version__

_PACKAGES = {
    "jax": "jax",
    "jaxlib": "jaxlib",
    "flax": "flax",
    "evosax": "evosax",
    "orbax": "orbax-checkpoint",
    "numpy": "numpy",
}


def versions() -> dict[str, str]:
    """Versions of jgaprune, of the packages under it and of Python."""
    packages = {name: version(package) for name, package in _PACKAGES.items()}
    return {"jgaprune": __version__, **packages, "python": platform.python_version()}


def device() -> dict[str, str | int]:
    """Platform, kind and number of the devices that JAX uses, and the host's processor."""
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
    }


def _processor() -> str:
    """The processor's name where the system tells it, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
