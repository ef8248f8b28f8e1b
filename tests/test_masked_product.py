"""The kernel for masked products computes them, and is used where it should be."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import OBJECTIVES, SPACES
from jax.sharding import AbstractDevice, AbstractMesh, use_abstract_mesh

from jgaprune import objectives, saliency, spaces
from jgaprune.converters import untrained
from jgaprune.engine import SEQUENTIAL, Strategy, evaluate
from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.ops import lowered, masked_dot, rewrite
from jgaprune.ops import masked_product as module
from jgaprune.ops.masked_product import masked_product, population_product, tiling_for

SHAPES = {
    "nothing to pad": (2, 16, 512, 64),
    "single weight": (1, 1, 1, 1),
    "nothing fits": (3, 5, 37, 11),
    "several tiles": (2, 70, 530, 65),
    "several slabs": (2, 3, 4200, 17),
}
H100 = AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")
TYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def operands(key, shape, dtype=jnp.float32, per_candidate=True):
    population, num_inputs, depth, num_outputs = shape
    x_key, weights_key, mask_key = jax.random.split(key, 3)
    leading = (population,) if per_candidate else ()
    x = jax.random.normal(x_key, (*leading, num_inputs, depth), dtype)
    weights = jax.random.normal(weights_key, (depth, num_outputs), dtype)
    return x, weights, jax.random.bernoulli(mask_key, 0.4, (population, depth, num_outputs))


def assert_is_product(found, x, weights, masks):
    """Products of either type are exact in float32, so only the order of the sums differs."""
    x, weights, masks = (np.asarray(one).astype(np.float64) for one in (x, weights, masks))
    expected = x @ (weights * masks)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * x.shape[-1])


@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("per_candidate", [True, False], ids=["own inputs", "shared inputs"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_products_of_a_population(shape, per_candidate, dtype, key):
    x, weights, masks = operands(key, shape, dtype, per_candidate)
    assert_is_product(jax.jit(population_product)(x, weights, masks), x, weights, masks)


@pytest.mark.parametrize("shape", ["single weight", "several slabs"])
def test_products_with_the_tiles_of_a_tpu(shape, key, monkeypatch):
    monkeypatch.setattr(
        module, "tiling_for", lambda *sizes, backend: tiling_for(*sizes, backend="tpu")
    )
    x, weights, masks = operands(key, SHAPES[shape])
    assert_is_product(jax.jit(population_product)(x, weights, masks), x, weights, masks)


@pytest.mark.parametrize(
    "axes", [(0, None, 0), (None, None, 0), (0, None, None), (0, 0, 0)], ids=str
)
def test_vmap_is_a_loop(axes, key):
    x, weights, masks = operands(key, SHAPES["nothing fits"])
    stacked = x, jnp.stack([weights, 2 * weights, -weights]), masks
    mapped = [one if axis == 0 else one[0] for one, axis in zip(stacked, axes, strict=True)]
    found = jax.vmap(masked_product, axes)(*mapped)
    for i, product in enumerate(found):
        members = [one[i] if axis == 0 else one for one, axis in zip(mapped, axes, strict=True)]
        np.testing.assert_allclose(product, masked_product(*members), rtol=1e-4, atol=1e-5)


def test_jit_is_eager(key):
    task = operands(key, SHAPES["several tiles"])
    jitted, eager = jax.jit(population_product)(*task), population_product(*task)
    np.testing.assert_allclose(jitted, eager, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("backend", ["gpu", "tpu"])
@pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
@pytest.mark.parametrize("precision", [None, "highest"])
@pytest.mark.filterwarnings("ignore:The Pallas Triton backend:DeprecationWarning")
def test_accelerators_have_what_the_kernel_is_made_of(precision, dtype, backend, key):
    def product(x, weights, masks):
        return population_product(x, weights, masks, precision, backend=backend)

    platform, call = {"gpu": ("cuda", "xla.gpu.triton"), "tpu": ("tpu", "tpu_custom_call")}[backend]
    with use_abstract_mesh(AbstractMesh((), (), abstract_device=H100)):
        traced = jax.jit(product).trace(*operands(key, SHAPES["several slabs"], dtype))
        assert call in traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("depth", [1, 31, 784, 4096, 25088])
@pytest.mark.parametrize("backend", ["gpu", "tpu"])
def test_tiles_cover_the_weights_with_little_padding(depth, backend):
    tiling = tiling_for(20, depth, 300, backend=backend)
    assert depth <= tiling.depth < depth + tiling.slabs * tiling.rows
    assert 1 <= tiling.planes <= 32


def test_arrays_beyond_int32_are_refused():
    shapes = [
        ((2**11, 2**10, 2**11), jnp.float32),
        ((2**11, 8), jnp.float32),
        ((2**11, 2**11, 8), bool),
    ]
    task = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    with pytest.raises(ValueError, match="smaller chunk"):
        jax.eval_shape(population_product, *task)


def kernels_in(function, *arguments):
    return str(jax.make_jaxpr(function)(*arguments)).count("pallas_call[")


def mapped(function, *unmapped):
    """A function of masks and more, rewritten and mapped over the masks."""
    rewritten = rewrite(function, {}, {"dot_general": masked_dot})
    return jax.vmap(rewritten, in_axes=(0, *(None for _ in unmapped)))


def test_the_rule_finds_masked_weights(key):
    x, weights, masks = operands(key, SHAPES["nothing fits"], per_candidate=False)

    def network(mask, x, weights):
        kept = apply_masks({"w": weights, "b": jnp.ones(11)}, {"w": mask})
        return jax.jit(lambda x, w: jnp.tanh(x.reshape(5, 1, 37) @ w))(x, kept["w"]) + kept["b"]

    population = mapped(network, x, weights)
    assert kernels_in(population, masks, x, weights) == 1
    expected = jnp.stack([network(mask, x, weights) for mask in masks])
    np.testing.assert_allclose(population(masks, x, weights), expected, rtol=1e-4, atol=1e-5)


def _kept(mask, weights):
    return apply_masks({"w": weights}, {"w": mask})["w"]


OTHERS = {
    "transposed": lambda mask, x, weights: jnp.einsum("mo,ko->mk", x[:, :11], _kept(mask, weights)),
    "on the left": lambda mask, x, weights: _kept(mask, weights).T @ x.T,
    "scaled before": lambda mask, x, weights: x @ (2 * _kept(mask, weights)),
    "whole numbers": lambda mask, x, weights: (
        (10 * x).astype(int) @ _kept(mask, (10 * weights).astype(int))
    ),
    "returned": lambda mask, x, weights: _kept(mask, weights),
}


@pytest.mark.parametrize("network", OTHERS.values(), ids=OTHERS)
def test_what_the_kernel_does_not_know_is_left_alone(network, key):
    x, weights, masks = operands(key, SHAPES["nothing fits"], per_candidate=False)
    population = mapped(network, x, weights)
    assert kernels_in(population, masks, x, weights) == 0
    expected = jnp.stack([network(mask, x, weights) for mask in masks])
    np.testing.assert_allclose(population(masks, x, weights), expected, rtol=1e-4, atol=1e-5)


def test_lower_precision_reaches_the_kernel(key):
    x, weights, masks = operands(key, SHAPES["nothing fits"], per_candidate=False)

    def network(mask):
        return x @ _kept(mask, weights)

    rules = {"dot_general": lowered(masked_dot, jnp.bfloat16)}
    products = jax.vmap(rewrite(network, {}, rules))(masks)
    assert_is_product(products, x.astype(jnp.bfloat16), weights.astype(jnp.bfloat16), masks)


def test_another_function_of_weights_and_mask_is_not_masking(key):
    @jax.jit
    def inverted(weights, mask):
        return jnp.where(mask, 0.0, weights)

    x, weights, masks = operands(key, SHAPES["nothing fits"], per_candidate=False)
    population = mapped(lambda mask, x, weights: x @ inverted(weights, mask), x, weights)
    assert kernels_in(population, masks, x, weights) == 0
    assert_is_product(population(masks, x, weights), x, weights, ~masks)


def dense_task(model):
    inputs = jax.random.normal(jax.random.key(1), (6, *model.spec.input_shape))
    scores = saliency.magnitude(model.params, model.layout, 0.7)
    return spaces.weights(scores, model.layout, 0.7), objectives.logit_mse(model, inputs=inputs)


class Tied(nnx.Module):
    """One layer used twice, and a norm between."""

    def __init__(self, rngs):
        self.layer = nnx.Linear(12, 12, rngs=rngs)
        self.norm = nnx.LayerNorm(12, rngs=rngs)

    def __call__(self, x):
        return self.layer(self.norm(nnx.gelu(self.layer(x))))


NETWORKS = {
    "mlp": (dense_task(untrained("mlp", widths=(20, 33, 9, 4))), 3),
    "tied": (dense_task(Model.from_nnx(Tied(nnx.Rngs(0)), (12,))), 2),
    "convolutional": ((SPACES["offsets"].space, OBJECTIVES["logit_mse"]), 1),
}


@pytest.mark.parametrize(("task", "num_kernels"), NETWORKS.values(), ids=NETWORKS)
def test_networks_under_the_kernel_strategy(task, num_kernels, key):
    space, objective = task
    genomes = jax.vmap(space.sample)(jax.random.split(key, 4))

    def fitness(strategy):
        return jax.jit(partial(evaluate, strategy=strategy))(space, objective, key, genomes)[0]

    kernel = Strategy("kernel", 2)
    assert kernels_in(fitness, kernel) == num_kernels
    expected = fitness(SEQUENTIAL)
    np.testing.assert_allclose(fitness(kernel), expected, rtol=2e-4)
    np.testing.assert_allclose(fitness(Strategy("kernel", 2, "bfloat16")), expected, rtol=0.05)
