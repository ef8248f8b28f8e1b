"""`arch="auto"`: which architecture a file holds, told from names and shapes alone."""

import numpy as np

from jgaprune.converters.catalog import ARCHITECTURES
from jgaprune.converters.errors import ConversionError
from jgaprune.converters.fit import Fit, fit, infer, shapes_of
from jgaprune.converters.models.architecture import Config
from jgaprune.converters.names import FileTensor, known_names


def guess(tensors: dict[str, np.ndarray]) -> tuple[str, Config]:
    """Recognises an architecture and its arguments.

    Args:
      tensors: of a file, by their exact names.

    Returns:
      The only architecture that all tensors fit, and its arguments. Those that no file tells
      (`assumed_arguments`) are mere defaults: the activation of an "mlp" is said to be relu.

    Raises:
      ConversionError: none fits, or several do, or tensors can't be told apart; the message
        lists what was tried.
    """
    known = known_names(tensors)
    tried = _try_likely(known)
    fitting = [(fitted.name, config) for fitted, config in tried if not fitted.num_faults]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " and ".join(name for name, _ in fitting)
        raise ConversionError(f"the tensors fit {names}. Name the one it is: load({names!r}, ...).")
    raise ConversionError(_explain_unknown(known, [fitted for fitted, _ in tried]))


def fitting_architectures(known: dict[str, FileTensor]) -> list[tuple[str, Config]]:
    """All architectures that the tensors fit without a fault, with their arguments."""
    return [(fitted.name, config) for fitted, config in _try_likely(known) if not fitted.num_faults]


def _try_likely(known: dict[str, FileTensor]) -> list[tuple[Fit, Config]]:
    """The networks that the file may hold, with arguments; to build all the others takes long."""
    shapes = shapes_of(known)
    likely = [architecture for architecture in ARCHITECTURES if architecture.is_likely(shapes)]
    configs = [infer(architecture, known) for architecture in likely]
    return [
        (fit(architecture, config, known), config)
        for architecture, config in zip(likely, configs, strict=True)
    ]


def _explain_unknown(known: dict[str, FileTensor], likely: list[Fit]) -> str:
    fits = sorted(likely, key=lambda tried: tried.num_faults)
    tried = "\n".join(f"  {_summary(one)}" for one in fits)
    names = {one.name for one in fits}
    others = ", ".join(one.name for one in ARCHITECTURES if one.name not in names)
    found = ", ".join(f"{tensor.name} {list(tensor.shape)}" for tensor in known.values())
    return (
        f"no known architecture fits these {len(known)} tensors. Tried, nearest first:\n{tried}\n"
        f"Tensors that every file of these has are missing: {others}.\n"
        f"The file holds: {found}.\n"
        f'load("{fits[0].name}", ...) lists what keeps the nearest from fitting. For other '
        "networks use from_torch or from_keras, or build it in Flax and use Model.from_nnx."
    )


def _summary(tried: Fit) -> str:
    return (
        f"{tried.name}: {len(tried.missing)} missing, {len(tried.unexpected)} unexpected, "
        f"{len(tried.unsuitable)} unsuitable"
    )
