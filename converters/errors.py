"""The one error of loading, and the hint it gives at names that may have been meant."""

import difflib
from collections.abc import Iterable


class ConversionError(ValueError):
    """Tensors don't fit the architecture; the message lists all faults and what to do."""


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the most similar of `names`, or nothing.

    >>> nearest("cifar_resnet2", ["cifar_resnet20", "mlp"])
    ' Nearest: cifar_resnet20.'
    """
    close = difflib.get_close_matches(name, list(names), n=3)
    return f" Nearest: {', '.join(close)}." if close else ""
