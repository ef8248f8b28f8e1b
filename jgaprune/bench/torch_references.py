"""What each architecture of `converters` is in PyTorch, and on what the two are compared.

One table says who builds an architecture from its arguments, another lists comparisons. Only
imported where torch is asked for.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from jgaprune.bench import torch_cnns as cnns
from jgaprune.bench import torch_networks as small
from jgaprune.bench.torch_bert import bert
from jgaprune.bench.torch_decoders import Gpt2, Llama
from jgaprune.bench.torch_transformers import vit


def _of_windows(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """The builder, called with the length of the windows, too: the network takes any."""

    def without_context(*, context: int = 0, **arguments: Any) -> nn.Module:
        return build(**arguments)

    return without_context


REFERENCES: dict[str, Callable[..., nn.Module]] = {
    "bert": _of_windows(bert),
    **{f"cifar_resnet{d}": partial(small.CifarResNet, d) for d in (20, 32, 44, 56, 110)},
    **{f"cifar_vgg{depth}_bn": partial(cnns.Vgg, depth, 1) for depth in cnns.CONVOLUTIONS},
    "digits_cnn": small.DigitsCNN,
    "gpt2": _of_windows(Gpt2),
    "lenet5": small.LeNet5,
    "llama": _of_windows(Llama),
    "mlp": small.mlp,
    "mobilenet_v2": cnns.MobileNetV2,
    "paper_cifar10": small.PaperCifar10,
    "paper_mnist": small.PaperMnist,
    **{f"resnet{depth}": partial(cnns.ResNet, depth) for depth in cnns.BLOCKS},
    "squeezenet1_1": cnns.SqueezeNet,
    **{f"vgg{depth}_bn": partial(cnns.Vgg, depth, 7) for depth in cnns.CONVOLUTIONS},
    "vit": vit,
}
"""By the architecture's name: `arguments of the architecture -> network with the file's names`."""


class Case(NamedTuple):
    """One comparison.

    Attributes:
      arch: architecture name.
      input_shape: one input's shape in PyTorch; where `config` has a vocabulary, inputs are tokens.
      config: arguments of the architecture, where they are not its defaults.
      is_small: whether rounding has few layers to grow in.
    """

    arch: str
    input_shape: tuple[int, ...]
    config: dict[str, Any] = {}
    is_small: bool = False

    def build(self) -> nn.Module:
        """The network in PyTorch."""
        return REFERENCES[self.arch](**self.config)


def _narrow(depth: int, width: int = 8) -> tuple[int, ...]:
    """Widths of a narrow VGG; channels never fall, as in the wide one."""
    counts = cnns.CONVOLUTIONS[depth]
    return tuple(width + 4 * stage for stage, count in enumerate(counts) for _ in range(count))


_BOTTLENECKS = {"width": 8, "middle": 8, "groups": 1, "num_classes": 7}
_SQUEEZENET = {
    "stem": 16,
    "squeezed": (8, 8, 8, 8, 12, 12, 12, 12),
    "expanded": (12, 12, 16, 16, 20, 20, 24, 24),
    "num_classes": 7,
}
_TRANSFORMER = {"dim": 32, "num_layers": 2, "num_heads": 4, "hidden": 44}
_VIT = _TRANSFORMER | {"patch_size": 8, "image_size": (24, 16), "num_classes": 5}
_TOKENS = _TRANSFORMER | {"vocabulary": 50, "context": 9}
_BERT = _TOKENS | {"positions": 16, "num_classes": 3}
_GPT2 = _TOKENS | {"positions": 16}
_LLAMA = _TOKENS | {"num_kv_heads": 2}
_TRANSFORMERS = {
    "vit_timm": Case("vit", (3, 24, 16), _VIT),
    "vit_hf": Case("vit", (3, 24, 16), _VIT | {"fused": False}),
    "vit_hf_pooler": Case("vit", (3, 24, 16), _VIT | {"fused": False, "head": "pooler"}),
    "bert_classifier": Case("bert", (9,), _BERT, True),
    "bert_tokens": Case("bert", (9,), _BERT | {"head": "tokens"}, True),
    "bert_pooler": Case("bert", (9,), _BERT | {"head": "pooler"}),
    "gpt2_tied": Case("gpt2", (9,), _GPT2, True),
    "gpt2_untied": Case("gpt2", (9,), _GPT2 | {"tied": False}, True),
    "llama_grouped": Case("llama", (9,), _LLAMA | {"rope_base": 5000.0}, True),
    "llama_tied": Case("llama", (9,), _LLAMA | {"num_kv_heads": 4, "tied": True}, True),
}
CASES = {
    **{
        f"cifar_resnet{depth}": Case(f"cifar_resnet{depth}", (3, 32, 32))
        for depth in (20, 32, 44, 56, 110)
    },
    "cifar_resnet20_on_oblong_images": Case("cifar_resnet20", (3, 24, 37), {"num_classes": 7}),
    "lenet5": Case("lenet5", (1, 32, 32), is_small=True),
    "paper_mnist": Case("paper_mnist", (1, 28, 28), is_small=True),
    "paper_cifar10": Case("paper_cifar10", (3, 32, 32), is_small=True),
    "digits_cnn": Case("digits_cnn", (1, 8, 8), is_small=True),
    "digits_cnn_on_oblong_images": Case("digits_cnn", (1, 9, 14), is_small=True),
    "resnet18": Case("resnet18", (3, 224, 224)),
    "resnet18_on_oblong_images": Case("resnet18", (3, 64, 97), {"num_classes": 10}),
    "resnet34": Case("resnet34", (3, 48, 65), {"width": 8, "num_classes": 7}),
    **{f"resnet{depth}": Case(f"resnet{depth}", (3, 48, 65), _BOTTLENECKS) for depth in (50, 101)},
    "resnet152": Case("resnet152", (3, 48, 65), _BOTTLENECKS),
    "resnet50_in_groups": Case("resnet50", (3, 48, 65), _BOTTLENECKS | {"middle": 16, "groups": 4}),
    "mobilenet_v2": Case(
        "mobilenet_v2", (3, 48, 65), {"widths": (8, 8, 8, 8, 16, 16, 24, 32, 40), "num_classes": 7}
    ),
    "squeezenet1_1": Case("squeezenet1_1", (3, 48, 67), _SQUEEZENET),
    "vgg11_bn": Case(
        "vgg11_bn",
        (3, 257, 290),
        {"widths": _narrow(11), "hidden": (24, 24), "num_classes": 7},
    ),
    "vgg16_bn": Case(
        "vgg16_bn",
        (3, 67, 101),
        {"widths": _narrow(16), "hidden": (24, 24), "num_classes": 7},
    ),
    "cifar_vgg11_bn": Case(
        "cifar_vgg11_bn", (3, 32, 48), {"widths": _narrow(11), "hidden": (), "num_classes": 7}
    ),
    "cifar_vgg16_bn": Case(
        "cifar_vgg16_bn", (3, 32, 32), {"widths": _narrow(16), "hidden": (24, 24), "num_classes": 7}
    ),
    "mlp": Case("mlp", (784,), {"widths": (784, 256, 256, 256, 10)}, is_small=True),
    "mlp_without_bias": Case("mlp", (20,), {"widths": (20, 8, 8, 4), "bias": False}, True),
    "mlp_gelu": Case("mlp", (20,), {"widths": (20, 16, 16, 4), "activation": "gelu"}, True),
    "mlp_tanh": Case("mlp", (20,), {"widths": (20, 16, 4), "activation": "tanh"}, True),
    "mlp_on_colour_images": Case(
        "mlp", (3, 8, 8), {"widths": (192, 24, 24, 10), "input_shape": (8, 8, 3)}, True
    ),
    **_TRANSFORMERS,
}
