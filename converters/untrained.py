"""`untrained`: an architecture with random weights, for measuring speed."""

from dataclasses import replace
from typing import Any

from flax import nnx

from jgaprune.converters.arguments import complete
from jgaprune.converters.catalog import find_architecture
from jgaprune.converters.fit import leaf_shapes
from jgaprune.converters.leaves import describe_tensor, tensor_name, tensor_shape
from jgaprune.model import Model


def untrained(arch: str, *, seed: int = 0, **arch_config: Any) -> Model:
    """A model with random weights, as Flax initialises them, in evaluation mode.

    Args:
      arch: a name of `list_models()`.
      seed: of the weights.
      **arch_config: arguments of the architecture; defaults where not given.

    Returns:
      The model; `model.spec.tensors` holds the names and layouts that a PyTorch file would have.

    Raises:
      ConversionError: the architecture or an argument is unknown.

    >>> untrained("lenet5").layout.num_weights
    61470
    """
    architecture = find_architecture(arch)
    config = complete(architecture, architecture.infer({}), arch_config)
    module = architecture.build(config, nnx.Rngs(seed))
    flattened = architecture.flattened(config)
    tensors = tuple(
        (
            leaf,
            describe_tensor(
                leaf,
                tensor_name(leaf),
                tensor_shape(leaf, shape, as_in_flax=architecture.is_as_in_flax(leaf)),
                "float32",
                flattened.get(leaf.rpartition(".")[0]) if leaf.endswith("kernel") else None,
                as_in_flax=architecture.is_as_in_flax(leaf),
            ),
        )
        for leaf, shape in leaf_shapes(module).items()
    )
    model = Model.from_nnx(
        module,
        architecture.input_shape(config),
        name=arch,
        preprocessing=architecture.preprocessing,
        vocabulary=architecture.vocabulary(config),
        padding=architecture.padding,
        start_token=architecture.start_token(config),
    )
    spec = replace(model.spec, tensors=tensors, config=tuple(sorted(config.items())))
    return model._replace(spec=spec)
