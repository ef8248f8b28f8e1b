"""What a run keeps on disk to go on after it was stopped; the only package that imports Orbax."""

from jgaprune.checkpoint.bundle import joined, parted
from jgaprune.checkpoint.folder import (
    FolderInUseError,
    exclusive,
    explained,
    read_document,
    write_document,
)
from jgaprune.checkpoint.steps import Step, Steps
from jgaprune.checkpoint.trees import save_tree

__all__ = [
    "FolderInUseError",
    "Step",
    "Steps",
    "exclusive",
    "explained",
    "joined",
    "parted",
    "read_document",
    "save_tree",
    "write_document",
]
