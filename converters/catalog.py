"""The architectures that can be loaded, by name."""

from fnmatch import fnmatchcase

from jgaprune.converters.errors import ConversionError, nearest
from jgaprune.converters.models.architecture import Architecture
from jgaprune.converters.models.cifar_resnet import cifar_resnet
from jgaprune.converters.models.digits_cnn import DIGITS_CNN
from jgaprune.converters.models.lenet5 import LENET5
from jgaprune.converters.models.llama import LLAMA
from jgaprune.converters.models.mlp import MLP
from jgaprune.converters.models.mobilenet_v2 import MOBILENET_V2
from jgaprune.converters.models.paper import PAPER_CIFAR10, PAPER_MNIST
from jgaprune.converters.models.resnet import resnet
from jgaprune.converters.models.squeezenet import SQUEEZENET1_1
from jgaprune.converters.models.vgg import cifar_vgg_bn, vgg_bn

ARCHITECTURES: tuple[Architecture, ...] = (
    *(cifar_resnet(depth) for depth in (20, 32, 44, 56, 110)),
    DIGITS_CNN,
    LENET5,
    LLAMA,
    MLP,
    MOBILENET_V2,
    PAPER_CIFAR10,
    PAPER_MNIST,
    *(resnet(depth) for depth in (18, 34, 50, 101, 152)),
    SQUEEZENET1_1,
    *(vgg_bn(depth) for depth in (11, 16)),
    *(cifar_vgg_bn(depth) for depth in (11, 16)),
)


def list_models(pattern: str = "*") -> list[str]:
    """Names that `load` knows, sorted; `pattern` as in a shell.

    >>> list_models("cifar_resnet?0")
    ['cifar_resnet20']
    """
    names = (architecture.name for architecture in ARCHITECTURES)
    return sorted(name for name in names if fnmatchcase(name, pattern))


def assumed_arguments(arch: str) -> tuple[str, ...]:
    """Arguments of an architecture that no file tells: where not given, `load` assumes them.

    The values that it took are in `model.spec.config`.

    Raises:
      ConversionError: there is no such architecture.

    >>> assumed_arguments("mlp")
    ('activation', 'input_shape')
    """
    return find_architecture(arch).assumed


def find_architecture(name: str) -> Architecture:
    """The architecture called `name`.

    Raises:
      ConversionError: there is none; the message has the nearest names.
    """
    for architecture in ARCHITECTURES:
        if architecture.name == name:
            return architecture
    names = list_models()
    raise ConversionError(
        f"unknown architecture {name!r}.{nearest(name, names)} "
        f'Known: {", ".join(names)}, or "auto" to recognise the file.'
    )
