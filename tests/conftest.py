"""Fixtures that several test files share, and how their programs are compiled.

Compiling is most of what the tests do: the processes of one run share what they compiled, from
the first import of a test file on, and code is optimised little, as in JAX's own tests.
`JAX_DISABLE_MOST_OPTIMIZATIONS=0` tests what users run (`XLA_FLAGS=` too).
"""

import os
import tempfile
from collections.abc import Iterator

import jax
import pytest

_PROGRAMS = pytest.StashKey[str]()

# A third less to compile. XLA stops at a flag that it does not know.
if jax.__version_info__ < (0, 11):
    os.environ.setdefault(
        "XLA_FLAGS",
        "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Settings of JAX; those that the environment makes are left alone."""
    wanted = {
        "jax_compilation_cache_dir": _folder_of_programs(config),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_disable_most_optimizations": True,
    }
    for name, value in wanted.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)


def pytest_configure_node(node) -> None:
    """Tells a process of pytest-xdist where the others keep their programs."""
    node.workerinput["programs"] = node.config.stash[_PROGRAMS]


def _folder_of_programs(config: pytest.Config) -> str:
    if hasattr(config, "workerinput"):
        return config.workerinput["programs"]
    folder = tempfile.TemporaryDirectory(prefix="jgaprune-tests-", ignore_cleanup_errors=True)
    config.add_cleanup(folder.cleanup)
    config.stash[_PROGRAMS] = folder.name
    return folder.name


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(7)


@pytest.fixture(autouse=True, scope="module")
def _few_programs() -> Iterator[None]:
    """A process may map 65 530 pieces of memory (Linux's default), each program takes some."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests find out about this machine stays out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JGAPRUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield
