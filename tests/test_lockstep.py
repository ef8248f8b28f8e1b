"""Two networks side by side: rules see every product once, and what they choose is used."""

import jax
import jax.numpy as jnp
import numpy as np
from helpers import INPUTS, MODEL, inputs_for

from jgaprune.ops import Both, Rules, in_lockstep, see_products

KEEP = Rules(
    product=lambda name, product, inputs, weights: weights.pruned,
    bias=lambda name, sums, bias: bias.pruned,
    norm=lambda batch, stored: stored.pruned,
)
DENSE = {"w": jax.random.normal(jax.random.key(0), (5, 3)), "b": jnp.ones(5)}
PRUNED = {"w": DENSE["w"] * (jnp.abs(DENSE["w"]) > 0.5), "b": DENSE["b"]}
X = jax.random.normal(jax.random.key(1), (4, 3))


def turned_and_shared(params, x):
    """The weights enter transposed, and once more as they are."""
    hidden = jnp.tanh(x @ params["w"].T + params["b"])
    return hidden @ params["w"]


def test_without_decisions_it_is_the_pruned_networks_own_pass():
    pruned = {name: 0.9 * leaf for name, leaf in MODEL.params.items()}
    rest = (MODEL.buffers, INPUTS)
    logits, params = in_lockstep(MODEL.apply, KEEP, MODEL.params, pruned, Both(rest, rest))
    np.testing.assert_allclose(logits, MODEL.apply(pruned, MODEL.buffers, INPUTS), rtol=1e-5)
    assert all(params[name] is pruned[name] for name in pruned)


def test_a_choice_is_made_once_in_the_leafs_own_shape_and_holds_for_every_use():
    asked = []

    def double(name, product, inputs, weights):
        asked.append(name)
        return 2 * weights.pruned

    rules = KEEP._replace(product=double)
    result, params = in_lockstep(turned_and_shared, rules, DENSE, PRUNED, Both((X,), (X,)))
    assert asked == ["w"]
    np.testing.assert_allclose(params["w"], 2 * PRUNED["w"], rtol=1e-6)
    expected = turned_and_shared({**PRUNED, "w": 2 * PRUNED["w"]}, X)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


def test_a_rule_sees_what_both_networks_have_at_that_layer():
    seen = {}

    def note(name, sums, bias):
        seen[name] = sums
        return bias.pruned

    in_lockstep(turned_and_shared, KEEP._replace(bias=note), DENSE, PRUNED, Both((X,), (X,)))
    for sums, params in zip(seen["b"], (DENSE, PRUNED), strict=True):
        np.testing.assert_allclose(sums, X @ params["w"].T + params["b"], rtol=1e-5)


def test_rows_times_matrix_is_the_product():
    """Of every layer of a network with convolutions, strides and padding."""
    outputs = {}

    def multiply(product, inputs, weights):
        rows, matrix = product.rows(inputs), product.matrix(weights)
        outputs[weights.shape] = jnp.matmul(rows, matrix)
        return product.unmatrix(matrix)

    inputs = inputs_for(MODEL, 3)
    same = see_products(MODEL.apply, multiply, MODEL.params, MODEL.buffers, inputs)
    for name in MODEL.spec.prunable:
        np.testing.assert_array_equal(same[name], MODEL.params[name])
    kernel = MODEL.params["conv1.kernel"]
    convolved = jax.lax.conv_general_dilated(
        inputs, kernel, (1, 1), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    got = outputs[kernel.shape].reshape(convolved.shape)
    np.testing.assert_allclose(got, convolved, rtol=1e-4, atol=1e-5)


def test_rows_at_every_second_place():
    def look(product, inputs, weights):
        rows, fewer = product.rows(inputs), product.rows(inputs, 2)
        num, side = inputs.shape[0], round((rows.shape[1] / inputs.shape[0]) ** 0.5)
        if product.num_places[1]:
            grid = rows.reshape(num, side, side, -1)[:, ::2, ::2]
            np.testing.assert_array_equal(fewer[0], grid.reshape(fewer.shape[1:]))
        return weights

    see_products(MODEL.apply, look, MODEL.params, MODEL.buffers, inputs_for(MODEL, 3))
