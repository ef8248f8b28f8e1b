"""Networks of other packages in PyTorch, with random weights, by name.

What `converters.from_torch` is tried on. torchvision and transformers are no dependencies: those
that can't be imported are missing from `available`, which says why. Only imported where torch is.
"""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

TORCHVISION = (
    "resnet50",
    "densenet121",
    "efficientnet_b0",
    "convnext_tiny",
    "shufflenet_v2_x1_0",
    "swin_t",
)
_IMAGES = (3, 96, 64)
_VIT_IMAGES = (3, 224, 224)
_LENGTH = 24
_SEEN = 8
"""Inputs whose statistics batch-norm layers hold."""
HUGGING_FACE = {
    "bert": ("BertForSequenceClassification", "BertConfig", {"num_labels": 7}),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {}),
    "vit": ("ViTForImageClassification", "ViTConfig", {"num_labels": 10}),
}
_kept: list[object] = []
"""Torch forgets operators whose library is collected."""


class Entry(NamedTuple):
    """A network.

    Attributes:
      build: a module with random weights, in evaluation mode.
      inputs: `num -> [num, ...]`, random images or tokens.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]


def available() -> tuple[dict[str, Entry], dict[str, str]]:
    """Networks whose packages are there, and of the others the reason."""
    found: dict[str, Entry] = {}
    missing: dict[str, str] = {}
    for names, entries in ((TORCHVISION, _torchvision), (HUGGING_FACE, _hugging_face)):
        try:
            found.update(entries())
        except (ImportError, RuntimeError) as error:
            missing.update(dict.fromkeys(names, f"{type(error).__name__}: {error}"))
    return found, missing


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module with random parameters and statistics, so that nothing is zero or one.

    Fresh networks may give logits near zero, which agree with anything.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
        for parameter in module.parameters():
            spread = 0.1 if parameter.ndim < 2 else 0.2 / parameter[0].numel() ** 0.5
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))
    return module.eval()


def _torchvision() -> dict[str, Entry]:
    models = _import_torchvision().models
    return {name: _fresh(getattr(models, name), _images(_IMAGES)) for name in TORCHVISION}


def _hugging_face() -> dict[str, Entry]:
    if importlib.util.find_spec("torchvision"):  # transformers imports it for its images
        _import_torchvision()
    transformers = importlib.import_module("transformers")
    entries = {}
    for name, (model, config, options) in HUGGING_FACE.items():
        settings = getattr(transformers, config)(**options)
        inputs = _images(_VIT_IMAGES) if name == "vit" else _tokens(settings.vocab_size)
        entries[name] = _fresh(getattr(transformers, model), inputs, settings)
    return entries


def _import_torchvision() -> Any:
    """torchvision beside a torch of another build, too: it asks for two operators of its own."""
    if not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "FRAGMENT")
        library.define("nms(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        library.define("qnms(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        _kept.append(library)
    return importlib.import_module("torchvision")


def _fresh(build: Callable[..., nn.Module], inputs: Callable[[int], Tensor], *config: Any) -> Entry:
    def seeded() -> nn.Module:
        torch.manual_seed(0)
        return _settled(shaken(build(*config)), inputs(_SEEN))

    return Entry(seeded, inputs)


def _settled(module: nn.Module, inputs: Tensor) -> nn.Module:
    """The module with the statistics of these inputs in its batch-norm layers.

    Random statistics let the signal of deep networks fade, until their logits say nothing of it.
    """
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        with torch.no_grad():
            module(inputs)
    return module.eval()


def _images(shape: tuple[int, ...]) -> Callable[[int], Tensor]:
    return lambda num: torch.randn(num, *shape, generator=torch.Generator().manual_seed(1))


def _tokens(vocabulary: int) -> Callable[[int], Tensor]:
    generator = torch.Generator().manual_seed(1)
    return lambda num: torch.randint(vocabulary, (num, _LENGTH), generator=generator)
