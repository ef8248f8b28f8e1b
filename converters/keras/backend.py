"""Keras with its JAX backend, imported when it is first needed."""

import importlib
import os
import sys
from typing import Any

from jgaprune.converters.errors import ConversionError

_OLDEST = (3, 0)


def keras_on_jax() -> Any:
    """The module `keras`, computing with JAX.

    Raises:
      ConversionError: Keras 3 isn't installed, or another backend is active; says what to do.
    """
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        keras = importlib.import_module("keras")
    except ImportError as error:
        raise ConversionError(
            f"from_keras needs Keras 3, which can't be imported ({error}). Install it: "
            "pip install 'jgaprune[keras]'. Files of Keras models are loaded without it: "
            "jgaprune.converters.load('keras', 'model.keras')."
        ) from error
    version = getattr(keras, "__version__", "0")
    if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
        raise ConversionError(
            f"from_keras needs Keras 3, this is {version}, which has no JAX backend. Update it: "
            "pip install 'keras>=3.8'; or save the model, model.save('model.h5'), and load that."
        )
    backend = keras.config.backend()
    if backend != "jax":
        raise ConversionError(
            f"Keras computes with {backend!r} in this process, and from_keras needs JAX. The "
            "backend is chosen when Keras is first imported: set KERAS_BACKEND=jax before that, "
            "in the shell or by os.environ['KERAS_BACKEND'] = 'jax' above every import, and make "
            "the model again. Or save it, model.save('model.keras'), and load the file: "
            "jgaprune.converters.load('keras', 'model.keras')."
        )
    return keras
