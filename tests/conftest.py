"""Fixtures that several test files share."""

from collections.abc import Iterator

import jax
import pytest


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(7)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests find out about this machine stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JGAPRUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield
