"""Imports point one way, and heavy or foreign packages stay where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A module may import from layers below its own, and within its own folder.
LAYERS = [
    {"types", "version", "cache", "distributed", "agreement"},
    {"masks", "checkpoint"},
    {"packed", "model", "ops"},
    {"saliency", "spaces", "inputs", "repair", "objectives", "evolvers"},
    {"training"},
    {"engine", "report"},
    {"driver"},
    {"demo", "bench", "telemetry"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ONLY_IN = {
    "evosax": {"evolvers"},
    "orbax": {"checkpoint"},
    "optax": {"inputs", "training"},
    "matplotlib": {"report"},
    "click": {"cli"},
    "rich": {"cli"},
    "torch": {"bench"},
    "tensorboardX": {"telemetry"},
    "wandb": {"telemetry"},
    "mlflow": {"telemetry"},
}
# Writes a run's files; the report imports it when it is saved and no sooner.
LAZY = ROOT / "jgaprune" / "report" / "weights.py"
NEVER = {"keras", "tensorflow", "sklearn"}
# Imported when PyTorch is compared with, and no sooner.
TORCH = {path.name for path in (ROOT / "jgaprune" / "bench").glob("torch_*.py")}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names of what a file imports."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return names


def part_of(path: Path) -> str:
    return path.relative_to(ROOT / "jgaprune").parts[0].removesuffix(".py")


def our_parts(names: set[str]) -> set[str]:
    parts = {name.split(".")[1] for name in names if name.startswith("jgaprune.")}
    return parts & {module.stem for module in (ROOT / "jgaprune").iterdir()} - {"assets"}


CORE = [path for path in modules("jgaprune") if part_of(path) not in ("__init__", "assets")]


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_imports_go_down_only(path):
    part = part_of(path)
    assert part in LEVEL, f"give {part} a place in LAYERS"
    for other in our_parts(imported(path)) - {part}:
        assert LEVEL[other] < LEVEL[part], f"{path.name} must not import {other}"


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_packages_stay_where_they_belong(path):
    part = part_of(path)
    for name in {name.split(".")[0] for name in imported(path)}:
        assert part in ONLY_IN.get(name, {part}), f"{name} belongs into {ONLY_IN[name]}"
        assert name not in NEVER


@pytest.mark.parametrize("path", CORE, ids=lambda path: str(path.relative_to(ROOT)))
def test_core_imports_no_converters_at_import_time(path):
    names = imported(path, top_level_only=True)
    if path.name not in TORCH:
        assert not any(name.rpartition(".")[2] + ".py" in TORCH for name in names)
    if part_of(path) not in ("cli", "demo") and path != LAZY and path.name not in TORCH:
        assert "jgaprune.report.weights" not in names
        assert not any(name.startswith("jgaprune.converters") for name in names)


@pytest.mark.parametrize("path", modules("converters"), ids=lambda path: path.name)
def test_converters_use_the_ground_only(path):
    assert our_parts(imported(path)) <= {"types", "masks", "model", "version"}
    tops = {name.split(".")[0] for name in imported(path, top_level_only=True)}
    assert not tops & {*NEVER, "torch"}


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, jgaprune; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["torch", "matplotlib.pyplot", "keras", "click", "tensorboardX", "wandb", "mlflow"]
    found = subprocess.run(
        [sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


def test_importing_the_package_leaves_jax_to_be_connected_with_other_processes():
    code = (
        "import jgaprune, jgaprune.cli; from jax._src import xla_bridge; "
        "print(xla_bridge.backends_are_initialized())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
