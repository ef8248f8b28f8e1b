"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import jax.numpy as jnp
import numpy as np
import pytest

import jgaprune
import jgaprune.converters

NEED_TORCH = "jgaprune.bench.torch_"


def names() -> list[str]:
    packages = [(jgaprune, "jgaprune."), (jgaprune.converters, "jgaprune.converters.")]
    found = {
        module.name
        for package, prefix in packages
        for module in pkgutil.walk_packages(package.__path__, prefix)
    }
    return sorted(found - {"jgaprune.__main__"})


@pytest.mark.parametrize("name", names())
def test_docstring_examples(name):
    if name.startswith(NEED_TORCH):
        pytest.importorskip("torch", reason="what PyTorch is compared in needs the extra 'parity'")
    module = importlib.import_module(name)
    globs = {"jnp": jnp, "np": np, **vars(module)}
    assert doctest.testmod(module, globs=globs).failed == 0
