"""Rewritten networks compute what they computed before."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jgaprune.masks import apply_masks
from jgaprune.ops import hoisted, lowered, masked_dot, matmul_convolution, rewrite

CONVOLUTIONS = {
    "plain": {},
    "padded": {"padding": "SAME"},
    "uneven": {"padding": ((2, 0), (0, 1))},
    "negative padding": {"padding": ((-1, 0), (0, 0))},
    "strided": {"window_strides": (2, 3), "padding": "SAME"},
    "dilated": {"rhs_dilation": (2, 1)},
    "transposed": {"lhs_dilation": (2, 2), "padding": ((1, 1), (1, 1))},
    "grouped": {"feature_group_count": 2},
    "channels first": {"dimension_numbers": ("NCHW", "OIHW", "NCHW")},
    "mixed layouts": {"dimension_numbers": ("NHWC", "OIHW", "NCHW")},
}


def convolve(inputs, kernel, changes):
    parameters = {
        "window_strides": (1, 1),
        "padding": "VALID",
        "dimension_numbers": ("NHWC", "HWIO", "NHWC"),
        **changes,
    }
    return jax.lax.conv_general_dilated(inputs, kernel, **parameters)


def operands(key, changes, members):
    """Stacked inputs and kernels in the layouts that `changes` ask for."""
    lhs, rhs, _ = changes.get("dimension_numbers", ("NHWC", "HWIO", "NHWC"))
    sizes = {"N": 3, "H": 9, "W": 8, "C": 4}
    groups = changes.get("feature_group_count", 1)
    kernel_sizes = {"H": 3, "W": 2, "I": 4 // groups, "O": 6}
    input_key, kernel_key = jax.random.split(key)
    inputs = jax.random.normal(input_key, (members, *(sizes[axis] for axis in lhs)))
    kernels = jax.random.normal(kernel_key, (members, *(kernel_sizes[axis] for axis in rhs)))
    return inputs, kernels


@pytest.mark.parametrize("changes", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None)], ids=["both", "kernel", "inputs"])
def test_convolutions_for_a_population(changes, axes, key):
    stacked = operands(key, changes, 5)
    arguments = [
        array if axis == 0 else array[0] for array, axis in zip(stacked, axes, strict=True)
    ]
    plain = partial(convolve, changes=changes)
    rewritten = rewrite(plain, {"conv_general_dilated": matmul_convolution})
    expected = jax.vmap(plain, axes)(*arguments)
    np.testing.assert_allclose(jax.vmap(rewritten, axes)(*arguments), expected, atol=2e-5)


def test_populations_of_kernels_need_no_grouped_convolution(key):
    inputs, kernels = operands(key, {}, 5)
    rewritten = rewrite(partial(convolve, changes={}), {"conv_general_dilated": matmul_convolution})
    program = str(jax.make_jaxpr(jax.vmap(rewritten))(inputs, kernels))
    assert "conv_general_dilated" not in program and "dot_general" in program


def test_rules_reach_into_wrapped_functions():
    @jax.jit
    def inner(x):
        return jax.checkpoint(lambda y: jax.nn.relu(jnp.sin(y)))(x)

    rewritten = rewrite(lambda tree: {"out": inner(tree["x"]), "kept": 2}, {"sin": _double})
    result = jax.jit(rewritten)({"x": jnp.array([3.0, -1.0])})
    np.testing.assert_array_equal(result["out"], [6.0, 0.0])
    assert result["kept"] == 2


def test_the_derivative_of_masking_is_no_masking(key):
    weights = jax.random.normal(key, (4, 3))
    masks = {"w": weights > 0}

    def loss(weights, x):
        return jnp.sum(jnp.sin(x @ apply_masks({"w": weights}, masks)["w"]))

    gradient = jax.grad(loss)
    rewritten = rewrite(gradient, {}, {"dot_general": masked_dot})
    x = jax.random.normal(key, (5, 4))
    np.testing.assert_allclose(rewritten(weights, x), gradient(weights, x), rtol=1e-5, atol=1e-6)


def test_control_flow_is_left_as_it_is():
    def looped(x):
        return jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y), jnp.sin(x))

    rewritten = rewrite(looped, {"sin": _double})
    once_doubled = jnp.sin(jnp.sin(jnp.sin(2.0)))
    np.testing.assert_allclose(rewritten(1.0), once_doubled, rtol=1e-6)


def test_closed_over_arrays_are_seen_through_a_jit():
    weights = jnp.arange(3.0)

    @jax.jit
    def through(x):
        return rewrite(lambda y: weights * x + y, {})(x)

    np.testing.assert_array_equal(through(2.0), weights * 2 + 2)


def test_lower_precision_sums_in_float32():
    ones = jnp.ones((1, 4096))
    product = rewrite(jnp.matmul, {"dot_general": lowered(_bind_dot, jnp.bfloat16)})
    result = product(ones, ones.T)
    assert result.dtype == jnp.float32
    assert float(result[0, 0]) == 4096.0
    rough = product(ones * 1.001, ones.T)  # 1.001 is 1.0 in bfloat16
    assert float(rough[0, 0]) == 4096.0


def test_lower_precision_leaves_whole_numbers_alone():
    product = rewrite(jnp.matmul, {"dot_general": lowered(_bind_dot, jnp.bfloat16)})
    assert int(product(jnp.array([[1001]]), jnp.array([[3]]))[0, 0]) == 3003


def _double(x, **_):
    return 2 * x


def _bind_dot(first, second, **parameters):
    return jax.lax.dot_general_p.bind(first, second, **parameters)


def _late(params, genome):
    early = jax.nn.relu(params["x"] @ params["early"])
    return jnp.tanh(jax.jit(lambda kernel: early @ kernel)(params["late"] * genome))


def test_what_no_candidate_changes_is_moved_out(key):
    params = {name: jax.random.normal(key, (4, 4)) for name in ("x", "early", "late")}

    def population(params, genomes):
        def score(genome):
            return _late(params, genome)

        return jax.lax.map(hoisted(score, genomes[0]), genomes)

    genomes = jax.random.normal(key, (3, 4, 4))
    expected = jax.lax.map(partial(_late, params), genomes)
    np.testing.assert_allclose(jax.jit(population)(params, genomes), expected, atol=1e-6)
    (loop,) = [
        e for e in jax.make_jaxpr(population)(params, genomes).eqns if e.primitive.name == "scan"
    ]
    inside = str(loop.params["jaxpr"])
    assert inside.count("dot_general") == 1 and "max" not in inside


def test_a_function_that_ignores_its_argument_is_all_moved_out():
    constant = hoisted(lambda x: jnp.arange(3.0) * 2, jnp.zeros(2))
    np.testing.assert_array_equal(constant(jnp.zeros(2)), [0.0, 2.0, 4.0])
