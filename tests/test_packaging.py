"""What is installed when it isn't installed in place: every package of the source."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"jgaprune": ROOT / "jgaprune", "jgaprune.converters": ROOT / "converters"}


def _folders(name: str, folder: Path) -> list[str]:
    """The package and those in it."""
    inner = [one for one in folder.iterdir() if (one / "__init__.py").exists()]
    return [name] + [found for one in inner for found in _folders(f"{name}.{one.name}", one)]


def test_every_package_is_installed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [name for source in SOURCES.items() for name in _folders(*source)]
    assert sorted(listed) == sorted(found)
