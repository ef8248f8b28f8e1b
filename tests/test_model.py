import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from helpers import INPUTS, MODEL, SmallNet, trees_equal

from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.model.forward import keep_stored
from jgaprune.types import Norm


class LinenNet(nn.Module):
    """The same network as `SmallNet`, in Linen."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 3), padding=1, use_bias=False, name="conv1")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True, name="bn1")(x))
        x = nn.Conv(8, (3, 3), strides=2, padding=1, use_bias=False, name="conv2")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=True, name="bn2")(x))
        return nn.Dense(5, name="linear")(x.mean(axis=(1, 2)))


def _nested(flat):
    tree = {}
    for name, leaf in flat.items():
        layer, kind = name.split(".")
        tree.setdefault(layer, {})[kind] = leaf
    return tree


LINEN = Model.from_linen(
    LinenNet(), {"params": _nested(MODEL.params), "batch_stats": _nested(MODEL.buffers)}, (8, 8, 2)
)


def _plain(params, inputs):
    hidden = jax.nn.relu(inputs @ params["first"]["w"] + params["first"]["b"])
    return hidden @ params["last"][0]


def test_nnx_equals_the_module_itself():
    module = SmallNet(nnx.Rngs(3))
    expected = nnx.view(module, use_running_average=True)(INPUTS)
    model = Model.from_nnx(module, (8, 8, 2))
    assert np.allclose(model.apply(model.params, model.buffers, INPUTS), expected, atol=1e-6)
    assert not module.bn1.use_running_average, "the caller's module must stay as it is"


def test_linen_equals_nnx():
    assert set(LINEN.params) == set(MODEL.params) and set(LINEN.buffers) == set(MODEL.buffers)
    np.testing.assert_allclose(
        LINEN.apply(LINEN.params, LINEN.buffers, INPUTS),
        MODEL.apply(MODEL.params, MODEL.buffers, INPUTS),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("model", [MODEL, LINEN], ids=["nnx", "linen"])
def test_observing_changes_nothing_and_names_the_norms_in_order(model):
    logits, records = model.observe(model.params, model.buffers, INPUTS, keep_stored)
    plain = model.apply(model.params, model.buffers, INPUTS)
    np.testing.assert_allclose(logits, plain, rtol=1e-5, atol=1e-6)
    assert model.spec.norms == ("bn1", "bn2") and tuple(records) == ("bn1", "bn2")


@pytest.mark.parametrize("model", [MODEL, LINEN], ids=["nnx", "linen"])
def test_the_rule_decides_what_a_norm_uses(model):
    """Statistics from a rule equal the same statistics stored in the buffers."""

    def shifted(name, batch, stored):
        return Norm(stored.mean + 0.3, stored.var * 2.0)

    logits, _ = model.observe(model.params, model.buffers, INPUTS, shifted)
    buffers = {
        name: leaf + 0.3 if name.endswith("mean") else leaf * 2.0
        for name, leaf in model.buffers.items()
    }
    stored = model.apply(model.params, buffers, INPUTS)
    np.testing.assert_allclose(logits, stored, rtol=1e-4, atol=1e-5)


def test_prunable_are_weights_in_forward_order_and_can_be_chosen():
    assert MODEL.spec.prunable == ("conv1.kernel", "conv2.kernel", "linear.kernel")
    chosen = Model.from_nnx(
        SmallNet(nnx.Rngs(0)), (8, 8, 2), prunable=lambda name, leaf: name.startswith("conv")
    )
    assert chosen.spec.prunable == ("conv1.kernel", "conv2.kernel")


def test_a_plain_function_is_a_model():
    params = {"first": {"w": jnp.ones((3, 4)), "b": jnp.zeros(4)}, "last": [jnp.ones((4, 2))]}
    model = Model.from_fn(_plain, params, (3,))
    assert model.spec.prunable == ("first.w", "last.0") and model.observe is None
    inputs = jnp.arange(6.0).reshape(2, 3)
    assert np.array_equal(model.apply(model.params, {}, inputs), _plain(params, inputs))


def test_a_model_is_a_pytree_whose_structure_hashes_by_value():
    again = Model.from_nnx(SmallNet(nnx.Rngs(5)), (8, 8, 2))
    first, second = (jax.tree.structure(model) for model in (MODEL, again))
    assert first == second and hash(first) == hash(second)
    assert trees_equal(jax.jit(lambda model: model.params)(MODEL), MODEL.params)


def test_vmap_over_masks_equals_one_after_another(key):
    masks = {
        name: jax.random.bernoulli(key, 0.5, (3, *MODEL.params[name].shape))
        for name in MODEL.spec.prunable
    }

    def forward(one):
        return MODEL.apply(apply_masks(MODEL.params, one), MODEL.buffers, INPUTS)

    together = jax.vmap(forward)(masks)
    for index in range(3):
        alone = forward(jax.tree.map(lambda leaf, i=index: leaf[i], masks))
        np.testing.assert_allclose(together[index], alone, rtol=1e-4, atol=1e-5)


def test_biases_scales_embeddings_and_class_tokens_are_not_prunable():
    shapes = {
        "query": {"kernel": (4, 2, 2), "bias": (2, 2)},
        "cls": (1, 1, 4),
        "pos_embedding": (3, 4),
        "scale": (2, 2),
    }
    params = jax.tree.map(jnp.ones, shapes, is_leaf=lambda shape: isinstance(shape, tuple))
    model = Model.from_fn(lambda p, x: x @ p["query"]["kernel"][:, 0], params, (4,))
    assert model.spec.prunable == ("query.kernel",)


class TrainableNet(nn.Module):
    """Trains unless told otherwise, as Flax's own examples do."""

    @nn.compact
    def __call__(self, x, train=True):
        x = nn.BatchNorm(use_running_average=not train, name="bn")(x)
        return nn.Dense(3, name="linear")(x)


def test_a_linen_module_may_be_told_to_evaluate():
    module, inputs = TrainableNet(), jnp.arange(12.0).reshape(3, 4)
    variables = module.init(jax.random.key(0), inputs)
    with pytest.raises(ValueError, match="training mode.*call=lambda"):
        Model.from_linen(module, variables, (4,))
    model = Model.from_linen(
        module, variables, (4,), call=lambda module, inputs: module(inputs, train=False)
    )
    expected = module.apply(variables, inputs, train=False)
    assert np.allclose(model.apply(model.params, model.buffers, inputs), expected)
    assert model.spec.norms == ("bn",)


class TrainableModule(nnx.Module):
    """Its call decides, whatever `eval()` says; statistics and masks drawn are both seen."""

    def __init__(self, rngs, rate=0.0):
        self.bn, self.linear = nnx.BatchNorm(4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)

    def __call__(self, x, train=True, dropout=False):
        x = self.dropout(x, deterministic=not dropout)
        return self.linear(self.bn(x, use_running_average=not train))


def _evaluate(module, inputs):
    return module(inputs, train=False)


def _draw(module, inputs):
    return module(inputs, train=False, dropout=True)


def test_an_nnx_module_may_be_told_to_evaluate():
    module, inputs = TrainableModule(nnx.Rngs(0), 0.5), jnp.arange(12.0).reshape(3, 4)
    with pytest.raises(ValueError, match="changes bn.mean, bn.var.*training mode.*call=lambda"):
        Model.from_nnx(module, (4,))
    with pytest.raises(ValueError, match="changes dropout.rngs.count"):
        Model.from_nnx(module, (4,), call=_draw)
    model = Model.from_nnx(module, (4,), call=_evaluate)
    expected = module(inputs, train=False)
    assert np.allclose(model.apply(model.params, model.buffers, inputs), expected)
    logits, records = model.observe(
        model.params, model.buffers, inputs, lambda name, batch, stored: batch
    )
    assert set(records) == {"bn"} and not np.allclose(logits, expected)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=True, name="bn")(x)
        return nn.Dense(3, name="linear")(x)


class SharedNet(nnx.Module):
    """Calls one batch-norm layer twice."""

    def __init__(self, rngs):
        self.bn, self.linear = nnx.BatchNorm(4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, x):
        return self.linear(self.bn(jnp.sin(self.bn(x))))


def test_norms_that_cannot_be_told_apart_are_refused():
    module = nn.remat(Block)()
    variables = module.init(jax.random.key(0), jnp.ones((2, 4)))
    with pytest.raises(ValueError, match="lifted transformation"):
        Model.from_linen(module, variables, (4,))
    with pytest.raises(ValueError, match="more than once.*bn"):
        Model.from_nnx(SharedNet(nnx.Rngs(0)), (4,))


def test_a_parameter_may_be_called_value():
    names = ("query", "key", "value")
    attention = {name: jnp.ones((3, 2)) for name in names}
    model = Model.from_fn(lambda p, x: x @ p["a"]["value"], {"a": attention}, (3,))
    assert set(model.params) == {f"a.{name}" for name in names}


def test_unusable_networks_are_explained():
    with pytest.raises(ValueError, match="same dotted name"):
        clash = {"a.b": jnp.ones((3, 2)), "a": {"b": jnp.ones((3, 2))}}
        Model.from_fn(lambda p, x: x @ p["a.b"], clash, (3,))
    with pytest.raises(ValueError, match=r"logits of shape \[N, C\]"):
        Model.from_fn(lambda p, x: (x @ p["w"]).sum(), {"w": jnp.ones((3, 2))}, (3,))
    with pytest.raises(ValueError, match="no prunable weight"):
        Model.from_fn(lambda p, x: x * p["b"], {"b": jnp.ones(3)}, (3,))
    with pytest.raises(ValueError, match="'params' collection"):
        Model.from_linen(LinenNet(), {"batch_stats": {}}, (8, 8, 2))
