"""Gains of norms without running statistics, refitted: against NumPy, in Flax's own norms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from helpers import INPUTS, MODEL

from jgaprune import repair
from jgaprune.masks import apply_masks
from jgaprune.model import Model
from jgaprune.ops import Both, Rules, in_lockstep

KEPT = Rules(
    product=lambda name, product, inputs, weights: weights.pruned,
    bias=lambda name, sums, bias: bias.pruned,
    norm=lambda batch, stored: stored.pruned,
)
DIM = 6
X = jax.random.normal(jax.random.key(0), (40, 3, 5))
GAINS_ALONE = {"weights": False, "biases": False, "gains": True}


class Net(nnx.Module):
    """A dense layer in front of a norm, at three places of every input."""

    def __init__(self, norm, rngs):
        self.fc = nnx.Linear(5, DIM, use_bias=False, rngs=rngs)
        self.norm = norm(DIM, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.fc(x)).reshape(len(x), -1)


class LinenNet(linen.Module):
    """The same in Linen."""

    @linen.compact
    def __call__(self, x):
        x = linen.Dense(DIM, use_bias=False, name="fc")(x)
        return linen.LayerNorm(name="norm")(x).reshape(len(x), -1)


def _spelled_out(params, x):
    """A layer-norm whose gain and bias are broadcast by hand, behind a constant."""
    x = x @ params["fc.kernel"]
    x = x - x.mean(-1, keepdims=True)
    x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)
    gain = jnp.broadcast_to(0.5 * params["norm.scale"], x.shape)
    return (gain * x + jnp.broadcast_to(params["norm.bias"], x.shape)).reshape(len(x), -1)


def _linen():
    variables = LinenNet().init(jax.random.key(1), X)
    return Model.from_linen(LinenNet(), variables, (3, 5))


def _function():
    kernel = jax.random.normal(jax.random.key(1), (5, DIM))
    params = {"fc.kernel": kernel, "norm.scale": jnp.ones(DIM), "norm.bias": jnp.zeros(DIM)}
    return Model.from_fn(_spelled_out, params, (3, 5), prunable=lambda name, _: name == "fc.kernel")


MODELS = {
    "nnx.LayerNorm": lambda: Model.from_nnx(Net(nnx.LayerNorm, nnx.Rngs(1)), (3, 5)),
    "nnx.RMSNorm": lambda: Model.from_nnx(Net(nnx.RMSNorm, nnx.Rngs(1)), (3, 5)),
    "linen.LayerNorm": _linen,
    "function": _function,
}
HAS_BIAS = ("nnx.LayerNorm", "linen.LayerNorm", "function")


@pytest.fixture(params=MODELS)
def case(request):
    """Name, a model with gains and biases that differ by channel, and its weights with an error.

    What enters the norm is scaled and shifted, channel by channel.
    """
    made = MODELS[request.param]()
    params = dict(made.params)
    params["norm.scale"] = jnp.linspace(0.5, 2.0, DIM)
    if "norm.bias" in params:
        params["norm.bias"] = jnp.linspace(-1.0, 1.0, DIM)
    model = made._replace(params=params)
    kernel = params["fc.kernel"]
    broken = kernel * jnp.linspace(0.7, 1.4, DIM) + 0.1 * jnp.flip(kernel, 0)
    return request.param, model, {**params, "fc.kernel": broken}


def _fit(model, broken, **settings):
    """Logits and parameters behind the repair."""
    return jax.jit(repair.reconstruct(model, X, **{"gains": True, **settings}).fit)(broken, {})[:2]


def _outputs(model, params):
    return np.asarray(model.apply(params, model.buffers, X), np.float64).reshape(-1, DIM)


def test_gain_and_bias_are_the_least_squares_line_of_every_channel(case):
    """Straight through the origin where no bias follows."""
    name, model, broken = case
    logits, fitted = _fit(model, broken, weights=False)
    dense, pruned = _outputs(model, model.params), _outputs(model, broken)
    for channel in range(DIM):
        columns = [pruned[:, channel]]
        if name in HAS_BIAS:
            columns.append(np.ones(len(pruned)))
        line = np.linalg.lstsq(np.stack(columns, 1), dense[:, channel], rcond=None)[0]
        expected = np.stack(columns, 1) @ line
        got = np.asarray(logits).reshape(-1, DIM)[:, channel]
        np.testing.assert_allclose(got, expected, atol=1e-4)
    np.testing.assert_allclose(logits, model.apply(fitted, {}, X), atol=1e-5)
    np.testing.assert_array_equal(fitted["fc.kernel"], broken["fc.kernel"])


def test_without_biases_the_gain_alone_brings_the_products_nearest(case):
    _, model, broken = case
    _, fitted = _fit(model, broken, **GAINS_ALONE)
    bias = np.asarray(broken.get("norm.bias", jnp.zeros(DIM)))
    dense, pruned = _outputs(model, model.params) - bias, _outputs(model, broken) - bias
    ratio = (dense * pruned).sum(0) / (pruned**2).sum(0)
    np.testing.assert_allclose(fitted["norm.scale"], ratio * broken["norm.scale"], rtol=1e-4)
    assert not np.allclose(ratio, 1, atol=1e-2)
    if "norm.bias" in broken:
        np.testing.assert_array_equal(fitted["norm.bias"], broken["norm.bias"])


def test_the_dense_network_is_left_as_it_is(case):
    _, model, _ = case
    _, fitted = _fit(model, model.params)
    for name, leaf in model.params.items():
        np.testing.assert_allclose(fitted[name], leaf, rtol=1e-4, atol=1e-5)


def test_without_gains_they_stay_as_they_are(case):
    _, model, broken = case
    _, fitted = _fit(model, broken, gains=False)
    np.testing.assert_array_equal(fitted["norm.scale"], broken["norm.scale"])


def test_jit_vmap_and_grad(case):
    _, model, broken = case
    fit = repair.reconstruct(model, X, weights=False, gains=True).fit
    other = {**broken, "fc.kernel": 0.8 * jnp.roll(broken["fc.kernel"], 1)}
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), broken, other)
    _, together, _ = jax.jit(jax.vmap(fit, in_axes=(0, None)))(both, {})
    for place, params in enumerate((broken, other)):
        _, alone, _ = jax.jit(fit)(params, {})
        for name, leaf in alone.items():
            np.testing.assert_allclose(together[name][place], leaf, rtol=1e-4, atol=1e-5)

    @jax.jit
    @jax.grad
    def slope(kernel):
        return fit({**broken, "fc.kernel": kernel}, {})[1]["norm.scale"].sum()

    assert np.isfinite(slope(broken["fc.kernel"])).all()
    assert np.isfinite(slope(broken["fc.kernel"].at[:, 0].set(0))).all()


def test_dead_channels_stay_finite_and_gains_within_bounds(case):
    """A channel that the dense network scales by ten thousand, one that is gone, all gone."""
    _, model, _ = case
    kernel = model.params["fc.kernel"]
    bounds = repair.Bounds(variance_ratio=9.0)
    fit = jax.jit(repair.reconstruct(model, X, **GAINS_ALONE, bounds=bounds).fit)
    for broken in (kernel.at[:, 0].multiply(1e-4), kernel.at[:, 0].set(0), jnp.zeros_like(kernel)):
        logits, fitted, _ = fit({**model.params, "fc.kernel": broken}, {})
        ratio = np.asarray(fitted["norm.scale"] / model.params["norm.scale"])
        assert np.isfinite(logits).all()
        assert ((ratio >= 1 / 3 - 1e-5) & (ratio <= 3 + 1e-5)).all()
    np.testing.assert_array_equal(ratio[np.asarray(_dead(model))], 1)


def _dead(model):
    """Channels whose products are zero when nothing enters the norm."""
    nothing = {**model.params, "fc.kernel": jnp.zeros_like(model.params["fc.kernel"])}
    bias = np.asarray(model.params.get("norm.bias", jnp.zeros(DIM)))
    return (_outputs(model, nothing) == bias).all(0)


def test_half_precision_stays_half(case):
    _, model, broken = case
    model, broken = (
        model._replace(params={n: leaf.astype(jnp.bfloat16) for n, leaf in model.params.items()}),
        {n: leaf.astype(jnp.bfloat16) for n, leaf in broken.items()},
    )
    fit = repair.reconstruct(model, X.astype(jnp.bfloat16), gains=True).fit
    _, fitted, _ = jax.jit(fit)(broken, {})
    assert {leaf.dtype for leaf in fitted.values()} == {jnp.dtype(jnp.bfloat16)}
    assert not np.array_equal(fitted["norm.scale"], broken["norm.scale"])


@pytest.mark.slow
def test_gains_of_batch_norm_layers_are_left_alone():
    pruned = apply_masks(MODEL.params, {n: MODEL.params[n] > 0 for n in MODEL.spec.prunable})
    _, fitted, _ = repair.reconstruct(MODEL, INPUTS, gains=True).fit(pruned, MODEL.buffers)
    for norm in MODEL.spec.norms:
        assert fitted[f"{norm}.scale"] is pruned[f"{norm}.scale"]


def test_gains_that_are_prunable_are_left_alone():
    def scaled(params, x):
        return x @ params["w"] * params["gain"]

    params = {"w": jax.random.normal(jax.random.key(1), (5, 4)), "gain": jnp.ones(4)}
    model = Model.from_fn(scaled, params, (5,), prunable=lambda name, leaf: True)
    pruned = {**params, "gain": jnp.array([1.0, 0.0, 1.0, 0.0])}
    _, fitted, _ = repair.reconstruct(model, X[:, 0], gains=True).fit(pruned, {})
    assert fitted["gain"] is pruned["gain"]


def _shared(params, x):
    first = jnp.tanh(x @ params["w"]) * params["gain"] + params["bias"]
    return jnp.tanh(first @ params["v"]) * params["gain"] + params["bias"]


def test_a_shared_gain_is_decided_at_its_first_use_and_holds_for_every_other():
    keys = jax.random.split(jax.random.key(3), 2)
    params = {
        "w": jax.random.normal(keys[0], (5, 4)),
        "v": jax.random.normal(keys[1], (4, 4)),
        "gain": jnp.ones(4),
        "bias": jnp.zeros(4),
    }
    asked = []

    def double(gain, products):
        asked.append((gain.name, gain.bias))
        return 2 * gain.leaf.pruned

    x = X[:, 0]
    rules = KEPT._replace(gain=double)
    result, found = in_lockstep(_shared, rules, params, params, Both((x,), (x,)))
    assert asked == [("gain", "bias")]
    np.testing.assert_allclose(found["gain"], 2.0)
    np.testing.assert_allclose(result, _shared({**params, "gain": jnp.full(4, 2.0)}, x), rtol=1e-5)


def test_a_rule_sees_the_products_of_the_activations_and_not_of_the_deviation():
    """Norms multiply the gain into `[N, 1]` first."""
    model = MODELS["nnx.RMSNorm"]()
    seen = {}

    def note(gain, products):
        seen[gain.name] = products.dense
        return gain.leaf.pruned

    rules = KEPT._replace(gain=note)
    rest = ({}, X)
    in_lockstep(model.apply, rules, model.params, model.params, Both(rest, rest))
    np.testing.assert_allclose(seen["norm.scale"], model.apply(model.params, {}, X), rtol=1e-5)
