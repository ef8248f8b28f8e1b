"""Weights and inputs that anyone can make again: each tensor is drawn from its own name.

So golden files hold names, shapes and logits only. `RandomState` is used because its streams
never change between NumPy versions.
"""

import zlib

import numpy as np

# Small convolution outputs make batch-norm's epsilon matter: 1e-5 against variances of 1e-3.
_CONV_SCALE = 0.03


def stream(name: str) -> np.random.RandomState:
    """Random numbers of one name."""
    return np.random.RandomState(zlib.crc32(name.encode()))


def random_tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """A state_dict with PyTorch's names and layouts; `running_var` marks nets with batch-norm."""
    has_norms = any(name.endswith("running_var") for name in shapes)
    convolutions = {
        name.removesuffix("weight") for name, shape in shapes.items() if len(shape) == 4
    }
    scales = {
        name: _CONV_SCALE if has_norms and name.rpartition(".")[0] + "." in convolutions else 1.0
        for name in shapes
    }
    return {name: _tensor(name, tuple(shape), scales[name]) for name, shape in shapes.items()}


def random_inputs(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Inputs in PyTorch's layout, float32 `[8, *shape]`."""
    return stream(name).standard_normal((8, *shape)).astype(np.float32)


def channels_last(inputs: np.ndarray) -> np.ndarray:
    """Images `[N, channels, H, W]` as `[N, H, W, channels]`; other inputs as they are."""
    return inputs.transpose(0, 2, 3, 1) if inputs.ndim == 4 else inputs


def _tensor(name: str, shape: tuple[int, ...], scale: float) -> np.ndarray:
    """`scale` is that of a convolution's outputs."""
    random = stream(name)
    if name.endswith("num_batches_tracked"):
        return np.array(random.randint(1, 1000), np.int64)
    if name.endswith("running_var"):
        values = random.uniform(0.5, 1.5, shape) * _CONV_SCALE**2
    elif name.endswith("running_mean"):
        values = random.standard_normal(shape) * 0.1 * _CONV_SCALE
    elif name.endswith("bias"):
        values = random.standard_normal(shape) * 0.1 * scale
    elif len(shape) == 1:
        values = random.uniform(0.5, 1.5, shape)
    else:
        deviation = np.sqrt(2 / np.prod(shape[1:])) * scale
        values = random.standard_normal(shape) * deviation
    return values.astype(np.float32)
