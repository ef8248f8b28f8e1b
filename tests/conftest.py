"""Fixtures that several test files share."""

from collections.abc import Iterator

import jax
import pytest

_SHARED = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(7)


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[None]:
    """What tests find out about this machine stays out of the user's cache.

    Compiling is most of what they do, and the processes of one run share what they compiled.
    """
    own = tmp_path_factory.getbasetemp()
    programs = (own if worker_id == "master" else own.parent) / "programs"
    before = {name: getattr(jax.config, name) for name in _SHARED}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JGAPRUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        if before["jax_compilation_cache_dir"] is None:
            for name, value in zip(_SHARED, (str(programs), 0.2), strict=True):
                jax.config.update(name, value)
        yield
        for name, value in before.items():
            jax.config.update(name, value)
