"""Fixtures that several test files share."""

import jax
import pytest


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(7)
