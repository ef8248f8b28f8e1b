"""Depthwise and grouped convolutions under masks: populations, saliencies and repairs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import inputs_for

from jgaprune import repair, saliency
from jgaprune.converters.models.layers import conv
from jgaprune.converters.models.mobilenet_v2 import InvertedResidual
from jgaprune.engine.batching import with_strategy
from jgaprune.engine.strategy import FORMS, Strategy
from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.ops import see_products
from jgaprune.saliency.sparse_gpt import kept_by_layer

SPARSITY = 0.5
DEPTHWISE = "block.conv.1.0.kernel"


class DepthwiseNet(nnx.Module):
    """A block of MobileNetV2, a convolution in two groups and a dense layer."""

    def __init__(self, rngs):
        self.block = InvertedResidual(4, 4, 1, 2, rngs)
        self.grouped = conv(4, 6, 3, stride=2, padding=1, groups=2, rngs=rngs)
        self.linear = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.grouped(self.block(x)))
        return self.linear(x.mean(axis=(1, 2)))


MODEL = Model.from_nnx(DepthwiseNet(nnx.Rngs(0)), (6, 5, 4))
INPUTS = inputs_for(MODEL)


def population(num):
    draw = np.random.RandomState(0).random_sample
    return {name: jnp.asarray(draw((num, *MODEL.params[name].shape)) < 0.6) for name in prunable()}


def prunable():
    return MODEL.spec.prunable


def logits(masks):
    return MODEL.apply(apply_masks(MODEL.params, masks), MODEL.buffers, INPUTS)


@pytest.mark.parametrize("form", FORMS)
def test_members_of_a_population_are_what_they_are_alone(form):
    masks = population(3)
    strategy = Strategy(form, 1 if form == "sequential" else 3)
    together = jax.jit(jax.vmap(with_strategy(logits, strategy)))(masks)
    alone = jax.jit(logits)
    for member in range(3):
        expected = alone({name: mask[member] for name, mask in masks.items()})
        np.testing.assert_allclose(together[member], expected, rtol=1e-4, atol=1e-5)


def test_depthwise_kernels_are_prunable_and_norms_are_seen():
    assert {DEPTHWISE, "grouped.kernel"} < set(prunable())
    assert MODEL.params[DEPTHWISE].shape == (3, 3, 1, 8)
    assert MODEL.spec.norms == ("block.conv.0.1", "block.conv.1.1", "block.conv.3")


def test_rows_times_matrix_is_the_product_of_every_group():
    """Sums over a window, written out, of a convolution in two groups with stride 2."""
    kernel = MODEL.params["grouped.kernel"]
    outputs = {}

    def look(product, inputs, weights):
        if weights.shape == kernel.shape:
            outputs["inputs"] = inputs
            outputs["product"] = jnp.matmul(product.rows(inputs), product.matrix(weights))
        return product.unmatrix(product.matrix(weights))

    same = see_products(MODEL.apply, look, MODEL.params, MODEL.buffers, INPUTS)
    np.testing.assert_array_equal(same["grouped.kernel"], kernel)
    np.testing.assert_array_equal(same[DEPTHWISE], MODEL.params[DEPTHWISE])
    x = np.pad(outputs["inputs"], ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = np.zeros((2, len(INPUTS), 3, 3, 3))
    for group in range(2):
        channels, kernels = slice(2 * group, 2 * group + 2), slice(3 * group, 3 * group + 3)
        for i, j in np.ndindex(3, 3):
            window = x[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3, channels]
            expected[group, :, i, j] = np.tensordot(window, kernel[..., kernels], 3)
    got = outputs["product"].reshape(expected.shape)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def settled():
    """The network with the statistics of its inputs, one channel of which never fires."""
    _, records = MODEL.observe(MODEL.params, MODEL.buffers, INPUTS, lambda name, batch, old: batch)
    buffers = dict(MODEL.buffers)
    for name, record in records.items():
        buffers[f"{name}.mean"], buffers[f"{name}.var"] = record.used
    dead = MODEL.params["block.conv.0.1.bias"].at[0].set(-100.0)
    return MODEL._replace(params=MODEL.params | {"block.conv.0.1.bias": dead}, buffers=buffers)


SEEN = {
    "exact_obs": saliency.exact_obs,
    "obs": saliency.obs,
    "wanda": saliency.wanda,
    "synflow": lambda model, inputs, sparsity: saliency.synflow(model, sparsity, rounds=5),
    "erk": lambda model, inputs, sparsity: saliency.erk(model.params, model.layout, sparsity),
    "lookahead": lambda model, inputs, sparsity: saliency.lookahead(
        model.params, model.layout, sparsity
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEN)
def test_saliencies_order_depthwise_weights_even_of_dead_channels(name):
    model = settled()
    scores = SEEN[name](model, INPUTS, SPARSITY)
    for leaf in (DEPTHWISE, "grouped.kernel"):
        assert scores[leaf].shape == model.params[leaf].shape
        assert bool(jnp.isfinite(scores[leaf]).all()), leaf
    alive = scores[DEPTHWISE][..., 1:]
    if name == "wanda":  # the same share of every output, here of every channel's nine taps
        assert set((alive >= 1).sum(axis=(0, 1, 2)).tolist()) == {4}
    else:
        assert len(np.unique(alive)) > alive.size // 2


def distance(model, params, buffers):
    dense = model.apply(model.params, model.buffers, INPUTS)
    return float(jnp.mean(jnp.square(model.apply(params, buffers, INPUTS) - dense)))


@pytest.mark.slow
def test_repairs_bring_a_pruned_depthwise_network_back():
    model = settled()
    masks = saliency.one_shot(saliency.wanda(model, INPUTS, SPARSITY), model.layout, SPARSITY)
    pruned = apply_masks(model.params, masks)
    _, _, moved = repair.batch_norm_delta(model, INPUTS).fit(pruned, model.buffers)
    assert distance(model, pruned, moved) < distance(model, pruned, model.buffers)
    _, refitted, buffers = repair.reconstruct(model, INPUTS).fit(pruned, model.buffers)
    assert distance(model, refitted, buffers) < distance(model, pruned, moved)
    assert bool(jnp.all((refitted[DEPTHWISE] != 0) <= masks[DEPTHWISE]))
    assert bool(jnp.any(refitted[DEPTHWISE] != pruned[DEPTHWISE]))


@pytest.mark.slow
def test_sparse_gpt_prunes_depthwise_layers_to_the_weight():
    model = settled()
    masks, params = saliency.sparse_gpt(model, INPUTS, SPARSITY)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in params.values())
    kept = dict(zip(model.layout.names, kept_by_layer(model.layout, SPARSITY), strict=True))
    assert {name: int(mask.sum()) for name, mask in masks.items()} == kept
    assert bool(jnp.all((params[DEPTHWISE] != 0) <= masks[DEPTHWISE]))
