"""Where a run took place: versions of what it stands on, and the device."""

import platform
from importlib.metadata import version

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
    """Platform, kind and number of the devices that JAX uses."""
    devices = jax.devices()
    return {
        "platform": devices[0].platform,
        "kind": devices[0].device_kind,
        "count": len(devices),
    }
