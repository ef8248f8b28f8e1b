"""Where real checkpoints and images lie, for tests that use them where they are."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
GOLDEN = Path(__file__).resolve().parent / "data"


def requires_shared(name: str) -> Path:
    """The path of a shared file; skips the calling test where it is absent."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs the real {name}, which is not part of the project")
    return path
