"""Every ATen operator that we have against torch's own; needs the extra `parity`."""

import jax.numpy as jnp
import numpy as np
import pytest

from jgaprune.converters.aten import OPERATORS

torch = pytest.importorskip("torch", reason="parity tests need the extra 'parity'")

pytestmark = pytest.mark.parity
_random = np.random.default_rng(5)


def tensor(*shape):
    return torch.from_numpy(_random.standard_normal(shape, np.float32))


X, Y, POSITIVE = tensor(3, 4, 6), tensor(3, 4, 6), tensor(3, 4, 6).abs() + 0.1
SMALL, LARGE = tensor(3, 4, 6).clamp(-0.9, 0.9), tensor(3, 4, 6).abs() + 1.1
WHOLE, OTHER = torch.randint(-5, 6, (3, 4)), torch.randint(1, 5, (3, 4))
EXTREMES = torch.tensor([2**31 - 1, 1 - 2**31, 2**24 + 1, -(2**31)], dtype=torch.int32)
FLAG, FLAG2 = X > 0, Y > 0
IMAGE, LINE, BLOCK = tensor(2, 4, 7, 6), tensor(2, 4, 9), tensor(2, 4, 5, 6, 4)
NORM = tensor(4), tensor(4)

UNARY = {
    **dict.fromkeys(
        [
            "abs",
            "atan",
            "asinh",
            "ceil",
            "cos",
            "cosh",
            "erf",
            "exp",
            "exp2",
            "expm1",
            "floor",
            "isfinite",
            "isinf",
            "isnan",
            "neg",
            "reciprocal",
            "round",
            "sign",
            "sin",
            "sinh",
            "square",
            "tan",
            "tanh",
            "trunc",
            "alias",
            "clone",
            "detach",
            "lift_fresh_copy",
            "relu",
            "sigmoid",
            "silu",
            "gelu",
            "hardsigmoid",
            "hardswish",
            "hardtanh",
            "elu",
            "leaky_relu",
            "softplus",
        ],
        3 * X,
    ),
    **dict.fromkeys(["log", "log10", "log1p", "log2", "rsqrt", "sqrt"], POSITIVE),
    **dict.fromkeys(["acos", "asin", "atanh"], SMALL),
    "acosh": LARGE,
    "bitwise_not": WHOLE,
    "logical_not": FLAG,
}
BINARY = {
    **dict.fromkeys(
        ["add", "sub", "mul", "div", "eq", "ne", "lt", "le", "gt", "ge", "fmod", "remainder"],
        (X, Y, 0.7),
    ),
    **dict.fromkeys(["bitwise_and", "bitwise_or", "bitwise_xor"], (WHOLE, OTHER, 3)),
}
POOLS = {1: LINE, 2: IMAGE, 3: BLOCK}


def _pooling():
    for axes, x in POOLS.items():
        yield f"max_pool{axes}d.default", [(x, [3] * axes, [2] * axes, [1] * axes)]
        yield f"max_pool{axes}d_with_indices.default", [(x, [2] * axes, [1] * axes, [1] * axes)]
        yield (
            f"avg_pool{axes}d.default",
            [
                (x, [3] * axes, [2] * axes, [1] * axes, True, True),
                (x, [3] * axes, [2] * axes, [1] * axes, True, False),
                (x, [2] * axes, [2] * axes, [0] * axes, False, True),
            ],
        )
        cases = [(x, [n] * axes) for n in (1, 2, 3)]
        yield f"adaptive_avg_pool{axes}d.default", cases
        if axes > 1:
            yield f"_adaptive_avg_pool{axes}d.default", cases
        yield f"adaptive_max_pool{axes}d.default", cases
    yield "max_pool2d.default", [(IMAGE, [3, 2], [2, 2], [1, 0], [1, 2], True), (IMAGE, [2])]


def _padding():
    for axes, x in POOLS.items():
        sides = [1, 2, 2, 1, 0, 1][: 2 * axes]
        cut = [-1, 2, 1, -2, 0, 1][: 2 * axes]
        yield f"reflection_pad{axes}d.default", [(x, sides), (x, cut)]
        yield f"replication_pad{axes}d.default", [(x, sides)]
    yield "constant_pad_nd.default", [(IMAGE, [1, -2, 0, 3], 2.5)]


CASES = {
    **{f"{name}.default": [(x,)] for name, x in UNARY.items()},
    **{f"{name}.Tensor": [(x, y)] for name, (x, y, _) in BINARY.items()},
    **{f"{name}.Scalar": [(x, number)] for name, (x, _, number) in BINARY.items()},
    **dict(_pooling()),
    **dict(_padding()),
    "gelu.default": [(X,), (X, {"approximate": "tanh"})],
    "elu.default": [(X,), (X, 1.5, 2.0, 0.5)],
    "hardtanh.default": [(3 * X, -0.5, 2.0)],
    "leaky_relu.default": [(X, 0.2)],
    "softplus.default": [(30 * X,), (X, 2.0, 1.0)],
    "round.decimals": [(X, {"decimals": 1})],
    "_to_copy.default": [(3 * X, {"dtype": torch.int32})],
    "copy.default": [(X, tensor(6))],
    "add.Tensor": [(X, Y), (X, Y, {"alpha": 3}), (X, 2)],
    "sub.Tensor": [(X, Y, {"alpha": 0.5})],
    "div.Tensor_mode": [
        *((X, Y, {"rounding_mode": mode}) for mode in ("floor", "trunc", None)),
        (EXTREMES, torch.tensor([1, 3, -2, 5]).int(), {"rounding_mode": "trunc"}),
    ],
    "div.Scalar_mode": [(X, 0.3, {"rounding_mode": "floor"})],
    "floor_divide.default": [(WHOLE, OTHER)],
    "atan2.default": [(X, Y)],
    "clamp.default": [(X, -0.3, 0.4), (X, None, 0.2), (X, 0.1)],
    "clamp.Tensor": [(X, Y - 1, Y + 1)],
    "logical_and.default": [(FLAG, FLAG2)],
    "logical_or.default": [(FLAG, FLAG2)],
    "logical_xor.default": [(FLAG, FLAG2)],
    "maximum.default": [(X, Y)],
    "minimum.default": [(X, Y)],
    "pow.Scalar": [(2.5, X)],
    "pow.Tensor_Scalar": [(X, 3), (X, 2.0), (POSITIVE, 0.5)],
    "pow.Tensor_Tensor": [(POSITIVE, Y)],
    "where.self": [(FLAG, X, Y)],
    "where.Scalar": [(FLAG, 1.0, 2.0)],
    "where.ScalarOther": [(FLAG, X, 2.0)],
    "where.ScalarSelf": [(FLAG, 1.0, Y)],
    "softmax.int": [(X, 1)],
    "_softmax.default": [(X, -1, False)],
    "log_softmax.int": [(X, 1)],
    "_log_softmax.default": [(X, -1, False)],
    "scaled_dot_product_attention.default": [
        (tensor(2, 4, 5, 6), tensor(2, 4, 7, 6), tensor(2, 4, 7, 3)),
        (tensor(2, 4, 5, 6), tensor(2, 4, 5, 6), tensor(2, 4, 5, 6), None, 0.0, True),
        (tensor(2, 5, 6), tensor(2, 7, 6), tensor(2, 7, 3), tensor(5, 7), {"scale": 0.3}),
        (tensor(2, 5, 6), tensor(2, 5, 6), tensor(2, 5, 3), torch.ones(5, 5).tril() > 0),
        (tensor(2, 5, 6), tensor(2, 5, 6), tensor(2, 5, 3), torch.ones(5, 5).tril(-1) > 0),
        (tensor(1, 4, 5, 6), tensor(1, 2, 5, 6), tensor(1, 2, 5, 6), {"enable_gqa": True}),
    ],
    "addmm.default": [
        (tensor(5), tensor(3, 4), tensor(4, 5)),
        (tensor(3, 5), tensor(3, 4), tensor(4, 5), {"beta": 0.5, "alpha": 2.0}),
    ],
    "baddbmm.default": [(tensor(2, 3, 5), tensor(2, 3, 4), tensor(2, 4, 5))],
    "bmm.default": [(tensor(2, 3, 4), tensor(2, 4, 5))],
    "dot.default": [(tensor(4), tensor(4))],
    "matmul.default": [(tensor(2, 3, 4), tensor(4, 5))],
    "mm.default": [(tensor(3, 4), tensor(4, 5))],
    "mv.default": [(tensor(3, 4), tensor(4))],
    "group_norm.default": [(IMAGE, 2, *NORM, 1e-3, False), (LINE, 4)],
    "instance_norm.default": [
        (IMAGE, *NORM, None, None, True, 0.1, 1e-5, False),
        (IMAGE, *NORM, tensor(4), POSITIVE[0, :, 0], False, 0.1, 1e-3, False),
    ],
    "layer_norm.default": [(X, [4, 6], tensor(4, 6), tensor(4, 6), 1e-3), (X, [6])],
    "rms_norm.default": [(X, [6], tensor(6), 1e-3), (X, [6])],
    "_native_batch_norm_legit_no_training.default": [
        (x, *NORM, tensor(4), POSITIVE[0, :, 0], 0.1, 1e-3) for x in (IMAGE, LINE, tensor(5, 4))
    ],
    "argmax.default": [(X,), (X, 1), (X, -1, True)],
    "argmin.default": [(X,), (X, 1)],
    "all.default": [(FLAG,)],
    "any.default": [(FLAG,)],
    **{f"{name}.dim": [(FLAG, 1), (FLAG, 0, True)] for name in ("all", "any")},
    **{f"{name}.dims": [(FLAG, [0, 2])] for name in ("all", "any")},
    **{f"{name}.default": [(X, [1]), (X, [0, -1], True)] for name in ("amax", "amin")},
    **{f"{name}.default": [(X,)] for name in ("max", "min", "mean", "sum", "prod")},
    **{f"{name}.dim": [(X, 1), (X, -1, True)] for name in ("max", "min")},
    "mean.dim": [(X, [1]), (X, [0, -1], True), (X, None)],
    "sum.dim_IntList": [(X, [1]), (X, [0, -1], True), (X, [])],
    "prod.dim_int": [(X, 1)],
    "cumprod.default": [(X, 1)],
    "cumsum.default": [(X, -1)],
    "linalg_vector_norm.default": [
        *((X, order, [1]) for order in (2, 1, 3, 0, float("inf"))),
        (X, 2, [0], True, {"dtype": torch.float32}),
    ],
    "logsumexp.default": [(X, [1], True)],
    "sort.default": [(X, 1), (X, -1, True)],
    "topk.default": [(X, 3), (X, 2, 1, False), (EXTREMES, 2, 0, False), (EXTREMES, 1)],
    "var.correction": [
        (X, [1]),
        (X, [0, 1], {"correction": 0, "keepdim": True}),
        (X, None, {"correction": 0.5}),
    ],
    "var_mean.correction": [(X, [1], {"correction": 0})],
    "cat.default": [([X, Y], 1), ([torch.zeros(0), X], 0)],
    "diagonal.default": [(X, 1, 1, 2)],
    "expand.default": [(tensor(3, 1, 6), [2, -1, 4, -1])],
    "flip.default": [(X, [0, 2])],
    "permute.default": [(X, [2, 0, 1])],
    "pixel_shuffle.default": [(IMAGE, 2)],
    "pixel_unshuffle.default": [(tensor(2, 3, 4, 6), 2)],
    "repeat.default": [(X, [2, 1, 3, 1])],
    "reshape.default": [(X, [4, -1])],
    "roll.default": [(X, [1, -2], [0, 2]), (X, [5])],
    "select.int": [(X, 1, -1)],
    "slice.Tensor": [(X, 1, 1, 2**63 - 1, 2), (X, 2, -4, -1), (X, 0, 2, 1)],
    "split.Tensor": [(X, 4, 2)],
    "split_with_sizes.default": [(X, [1, 3], 1)],
    "squeeze.default": [(tensor(1, 3, 1),)],
    "squeeze.dim": [(tensor(1, 3, 1), 0), (tensor(1, 3, 1), 1)],
    "squeeze.dims": [(tensor(1, 3, 1), [0, -1])],
    "stack.default": [([X, Y], 1)],
    "t.default": [(tensor(3, 4),)],
    "transpose.int": [(X, 0, -1)],
    "tril.default": [(X,), (X, 1)],
    "triu.default": [(X, -1)],
    "unbind.int": [(X, 1)],
    "unsqueeze.default": [(X, -1), (X, 1)],
    "view.default": [(X, [12, 6])],
    "_unsafe_view.default": [(X, [12, 6])],
    "embedding.default": [(tensor(7, 3), torch.tensor([[0, 6], [2, 2]]))],
    "gather.default": [(X, 1, torch.randint(4, (2, 3, 6)))],
    "index.Tensor": [
        (X, [None, torch.tensor([2, -1])]),
        (X, [torch.tensor([0, 2]), None, torch.tensor([[1], [5]])]),
    ],
    "index_put.default": [
        (X, [torch.tensor([0, 2])], tensor(4, 6)),
        (X, [None, torch.tensor([1, 1])], tensor(3, 2, 6), True),
    ],
    "index_select.default": [(X, 1, torch.tensor([3, 0, 0]))],
    "scatter.src": [(X, 1, torch.tensor([[[0], [2]]]), Y)],
    "scatter.value": [(X, 1, torch.tensor([[[0], [2]]]), 9.0)],
    "scatter_add.default": [(X, 1, torch.tensor([[[1], [1]]]), Y)],
    "select_scatter.default": [(X, tensor(3, 6), 1, -1)],
    "slice_scatter.default": [(X, tensor(3, 2, 6), 1, 0, 2**63 - 1, 2)],
    "arange.start_step": [(2, 9, 3), (0.0, 1.0, 0.25)],
    "eye.default": [(3,)],
    "eye.m": [(3, 4)],
    "full.default": [([2, 3], 1.5)],
    "full_like.default": [(X, 2.0)],
    "scalar_tensor.default": [(2.5,)],
    "upsample_nearest2d.vec": [(IMAGE, [5, 9], None), (IMAGE, None, [2.0, 1.5])],
    "upsample_bilinear2d.vec": [
        (IMAGE, [5, 9], False, None),
        (IMAGE, [5, 9], True, None),
        (IMAGE, None, False, [2.0, 1.5]),
    ],
}
FLAX = {
    "linear.default": [(X, tensor(5, 6), tensor(5)), (X, tensor(5, 6))],
    "convolution.default": [
        (LINE, tensor(6, 2, 3), tensor(6), [2], [1], [1], False, [0], 2),
        (IMAGE, tensor(6, 4, 3, 2), None, [1, 2], [1, 0], [2, 1], False, [0, 0], 1),
        (BLOCK, tensor(4, 1, 3, 3, 3), tensor(4), [1], [1], [1], False, [0], 4),
        (IMAGE, tensor(4, 3, 3, 2), tensor(6), [2, 1], [1, 0], [1, 2], True, [1, 0], 2),
    ],
}
"""Operators whose weights, their second argument, we take in Flax layout."""
NOTHING_TO_COMPARE = {"empty.memory_format"}
"""Its values are undefined."""
PAIRS = [(name, case) for name, cases in {**CASES, **FLAX}.items() for case in range(len(cases))]


def test_every_operator_has_a_case():
    assert OPERATORS.keys() == {*CASES, *FLAX, *NOTHING_TO_COMPARE}


def as_jax(value):
    if isinstance(value, torch.Tensor):
        return jnp.asarray(value.numpy())
    if isinstance(value, list):
        return tuple(map(as_jax, value))
    return str(value).removeprefix("torch.") if isinstance(value, torch.dtype) else value


def flax_layout(name, arguments):
    weight = arguments[1]
    if name == "linear.default":
        return [arguments[0], weight.T, *arguments[2:]]
    last = (0, 1) if arguments[6] else (1, 0)
    return [arguments[0], weight.permute(*range(2, weight.ndim), *last), *arguments[2:]]


@pytest.mark.parametrize("name, case", PAIRS, ids=[f"{name}-{case}" for name, case in PAIRS])
def test_an_operator_is_torchs(name, case):
    arguments = [*{**CASES, **FLAX}[name][case]]
    options = arguments.pop() if isinstance(arguments[-1], dict) else {}
    packet, overload = name.split(".")
    expected = getattr(getattr(torch.ops.aten, packet), overload)(*arguments, **options)
    if name in FLAX:
        arguments = flax_layout(name, arguments)
    found = OPERATORS[name](*map(as_jax, arguments), **{n: as_jax(o) for n, o in options.items()})
    if not isinstance(expected, tuple | list):
        expected, found = (expected,), (found,)
    for one, other in zip(found, expected, strict=False):  # the last results may be missing
        assert one.shape == tuple(other.shape)
        np.testing.assert_allclose(one, other.numpy(), rtol=2e-5, atol=2e-6)
