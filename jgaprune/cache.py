"""Where answers that are costly to find again are kept between runs."""

import os
from pathlib import Path

import jax
from platformdirs import user_cache_path

_VARIABLE = "JGAPRUNE_CACHE_DIR"


def cache_folder(name: str) -> Path:
    """A folder in the user's cache, or in `JGAPRUNE_CACHE_DIR` if that is set; it may not exist."""
    return Path(os.environ.get(_VARIABLE) or user_cache_path("jgaprune")) / name


def keep_compiled_programs() -> None:
    """Lets JAX keep compiled programs between runs, unless it was told where to do so already.

    For whole programs such as the command line: it changes JAX's configuration.
    """
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(cache_folder("programs")))
