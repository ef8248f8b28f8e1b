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
    known = list(names)
    holding = [one for one in known if name and name in one]
    close = [*holding, *difflib.get_close_matches(name, known, n=3)]
    close = list(dict.fromkeys(close))[:3]
    return f" Nearest: {', '.join(close)}." if close else ""
