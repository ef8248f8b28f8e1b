import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import INPUTS, LAYOUT, MODEL, OBJECTIVES, REPAIR, SPACES, SPARSITY

from jgaprune import objectives, saliency, spaces
from jgaprune.engine import Strategy, evaluate
from jgaprune.masks import apply_masks, kept_for
from jgaprune.model import Model
from jgaprune.types import Score

ALL = {name: jnp.ones(shape, bool) for name, shape in zip(LAYOUT.names, LAYOUT.shapes, strict=True)}
MASKS = saliency.one_shot(saliency.lamp(MODEL.params, LAYOUT, SPARSITY), LAYOUT, SPARSITY)
LABEL_FREE = sorted(set(OBJECTIVES) - {"accuracy", "cross_entropy"})


@pytest.mark.parametrize("name", LABEL_FREE)
def test_the_dense_network_is_perfect(name, key):
    score = OBJECTIVES[name](key, ALL)
    assert float(score.fitness) == pytest.approx(0.0, abs=1e-6)
    assert int(score.kept) == LAYOUT.num_weights


@pytest.mark.parametrize("name", OBJECTIVES.keys())
def test_lower_fitness_is_better_than_removing_at_random(name, key):
    """Over many random masks, more pruned ones are worse on average."""

    def mean_fitness(sparsity):
        base = saliency.magnitude(MODEL.params, LAYOUT, sparsity)
        base = saliency.protect(base, LAYOUT, kept_for(sparsity, LAYOUT.num_weights))
        space = spaces.weights(base, LAYOUT, sparsity)
        score = jax.jit(lambda k: OBJECTIVES[name](k, space.decode(space.sample(k))).fitness)
        return float(np.mean([score(k) for k in jax.random.split(key, 12)]))

    assert mean_fitness(0.1) < mean_fitness(0.9)


@pytest.mark.parametrize(
    "compare",
    [
        objectives.compare_outputs,
        objectives.compare_probabilities,
        objectives.compare_directions,
        objectives.compare_logits,
        objectives.compare_distributions,
        objectives.compare_distributions_reversed,
        objectives.compare_decisions,
        objectives.compare_labels,
        objectives.compare_likelihood,
    ],
)
def test_nan_logits_never_win(compare):
    """Not even where the label is class 0, which the arg-max of NaN is."""
    of_labels = compare in (objectives.compare_labels, objectives.compare_likelihood)
    reference = jnp.zeros(3, int) if of_labels else jnp.array([[2.0, 1.0]] * 3)
    fitness, _ = compare(jnp.array([[2.0, 1.0], [jnp.nan, jnp.nan], [2.0, 1.0]]), reference)
    assert np.isnan(fitness)


def test_total_variation_against_numpy_at_any_scale_of_the_pruned_logits():
    rng = np.random.default_rng(0)
    logits, dense = (x - x.mean(axis=1, keepdims=True) for x in 3 * rng.normal(size=(2, 7, 4)))

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)

    scaled = logits * np.linalg.norm(dense) / np.linalg.norm(logits)
    expected = 0.5 * np.abs(softmax(scaled) - softmax(dense)).sum(axis=-1).mean()
    for scale in (1e-12, 1.0, 1e12):
        found, _ = objectives.compare_probabilities(jnp.float32(scale * logits), jnp.float32(dense))
        assert float(found) == pytest.approx(expected, rel=1e-4)
    assert float(objectives.compare_probabilities(5 * dense + 1, dense)[0]) < 1e-6
    silent, _ = objectives.compare_probabilities(jnp.zeros((7, 4)), dense)
    expected = 0.5 * np.abs(0.25 - softmax(dense)).sum(axis=-1).mean()
    assert float(silent) == pytest.approx(expected, rel=1e-5)


def test_output_distance_is_the_mean_of_decisions_and_directions():
    logits, dense = np.random.default_rng(0).normal(size=(2, 7, 4)).astype(np.float32)
    parts = (objectives.compare_probabilities, objectives.compare_directions)
    expected = np.mean([compare(logits, dense)[0] for compare in parts])
    assert float(objectives.compare_outputs(logits, dense)[0]) == pytest.approx(float(expected))


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e18])
def test_logit_cosine_holds_at_every_scale(scale):
    logits, dense = np.random.default_rng(0).normal(size=(2, 7, 4)).astype(np.float32)
    expected, _ = objectives.compare_directions(logits, dense)
    seen, _ = objectives.compare_directions(scale * logits, scale * dense)
    assert float(seen) == pytest.approx(float(expected), rel=1e-5)
    assert float(objectives.compare_directions(0 * logits, dense)[0]) == 1.0


def test_logit_mse_ignores_what_softmax_ignores():
    logits = jax.random.normal(jax.random.key(0), (6, 4))
    shifted = logits + jnp.arange(6.0)[:, None]
    assert float(objectives.compare_logits(shifted, logits)[0]) == pytest.approx(0.0, abs=1e-6)
    constant = jnp.zeros_like(logits)
    assert float(objectives.compare_logits(constant, logits)[0]) == pytest.approx(1.0)


def test_logit_cosine_ignores_scale_too_and_matches_numpy():
    rng = np.random.default_rng(0)
    logits, dense = rng.normal(size=(2, 7, 4))
    assert float(objectives.compare_directions(3 * dense + 1, dense)[0]) == pytest.approx(
        0, abs=1e-6
    )
    one, other = (x - x.mean(axis=1, keepdims=True) for x in (logits, dense))
    expected = 1 - (one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum())
    found, _ = objectives.compare_directions(jnp.asarray(logits), jnp.asarray(dense))
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(objectives.compare_directions(jnp.zeros((7, 4)), dense)[0]) == 1.0


def test_kl_against_numpy():
    rng = np.random.default_rng(0)
    dense, pruned = rng.normal(size=(2, 7, 4))

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)

    p, q = softmax(dense), softmax(pruned)
    expected = np.mean(np.sum(p * (np.log(p) - np.log(q)), axis=-1))
    found, _ = objectives.compare_distributions(jnp.asarray(pruned), jnp.asarray(dense))
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_labels_and_likelihood_against_numpy():
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], np.float32)
    labels = np.array([0, 0, 0])
    fitness, accuracy = objectives.compare_labels(logits, labels)
    assert float(fitness) == pytest.approx(1 / 3) and float(accuracy) == pytest.approx(2 / 3)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    expected = -log_softmax[np.arange(3), labels].mean()
    assert float(objectives.compare_likelihood(logits, labels)[0]) == pytest.approx(expected)


@pytest.mark.parametrize("name", OBJECTIVES.keys())
def test_jit_equals_eager_and_order_does_not_matter(name, key):
    space = SPACES["offsets"].space
    genomes = [space.sample(k) for k in jax.random.split(key, 3)]
    eager = [OBJECTIVES[name](key, space.decode(genome)).fitness for genome in genomes]
    score = jax.jit(lambda genome: OBJECTIVES[name](key, space.decode(genome)).fitness)
    np.testing.assert_allclose([score(g) for g in reversed(genomes)], eager[::-1], rtol=2e-5)


def test_own_inputs_are_seen_after_the_repair(key):
    other = INPUTS[::-1] * 0.5
    params = apply_masks(MODEL.params, MASKS)
    _, params, buffers = REPAIR.fit(params, MODEL.buffers)
    expected, _ = objectives.compare_logits(
        MODEL.apply(params, buffers, other), MODEL.apply(MODEL.params, MODEL.buffers, other)
    )
    found = objectives.logit_mse(MODEL, inputs=other, repair=REPAIR)(key, MASKS)
    assert float(found.fitness) == pytest.approx(float(expected), rel=1e-5)


def test_missing_inputs_and_wrong_labels_are_explained():
    with pytest.raises(ValueError, match="needs inputs"):
        objectives.kl(MODEL)
    with pytest.raises(ValueError, match="one per input"):
        objectives.accuracy(MODEL, jnp.zeros(3, jnp.int32), inputs=INPUTS)
    with pytest.raises(ValueError, match="integers"):
        objectives.accuracy(MODEL, jnp.zeros(len(INPUTS)), inputs=INPUTS)
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match=r"outputs 0\.\.4"):
            objectives.cross_entropy(MODEL, jnp.full(len(INPUTS), wrong), inputs=INPUTS)


def test_a_nan_in_the_logits_is_a_nan_in_the_fitness(key):
    broken = Model.from_fn(_broken, {"w": jnp.ones((3, 2))}, (3,))
    masks = {"w": jnp.array([[True, True], [True, True], [True, False]])}
    score = objectives.logit_mse(broken, inputs=jnp.ones((2, 3)))(key, masks)
    assert np.isnan(score.fitness)


def _broken(params, inputs):
    logits = inputs @ params["w"]
    return jnp.where(params["w"][2, 1] == 0, jnp.nan, logits)


def _softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def test_reverse_kl_is_kl_the_other_way_round_and_top_puts_the_rest_into_one_bucket():
    dense, pruned = 2 * np.random.default_rng(0).normal(size=(2, 7, 9)).astype(np.float32)
    largest = np.argsort(-dense, axis=1)[:, :3]

    def shares(logits):
        p = _softmax(logits.astype(np.float64))
        chosen = np.take_along_axis(p, largest, axis=1)
        return np.concatenate([chosen, 1 - chosen.sum(axis=1, keepdims=True)], axis=1)

    def divergence(p, q):
        return np.mean(np.sum(p * np.log(p / q), axis=1))

    p, q = shares(dense), shares(pruned)
    top = objectives.top_outputs(jnp.asarray(dense), 3)
    forward, _ = objectives.compare_top(jnp.asarray(pruned), top)
    backward, _ = objectives.compare_top_reversed(jnp.asarray(pruned), top)
    assert float(forward) == pytest.approx(divergence(p, q), rel=1e-4)
    assert float(backward) == pytest.approx(divergence(q, p), rel=1e-4)
    reverse, _ = objectives.compare_distributions_reversed(pruned, dense)
    assert float(reverse) == pytest.approx(divergence(_softmax(pruned), _softmax(dense)), rel=1e-4)
    assert float(forward) < float(objectives.compare_distributions(pruned, dense)[0])


def test_top_of_all_outputs_is_plain_kl_and_extreme_logits_stay_finite(key):
    everything = objectives.kl(MODEL, repair=REPAIR, top=4)(key, MASKS)
    assert float(everything.fitness) == float(OBJECTIVES["kl"](key, MASKS).fitness)
    sure, other = jnp.array([[300.0, 0.0, -300.0, 0.0]]), jnp.array([[-300.0, 0.0, 300.0, 0.0]])
    top = objectives.top_outputs(sure, 1)
    forward, backward = (
        float(compare(other, top)[0])
        for compare in (objectives.compare_top, objectives.compare_top_reversed)
    )
    assert forward == pytest.approx(600)
    assert backward == pytest.approx(300 - np.log(2))
    with pytest.raises(ValueError, match="at least 1"):
        objectives.reverse_kl(MODEL, repair=REPAIR, top=0)


def test_feature_distance_is_the_mean_over_what_enters_every_layer_of_the_repaired_network(key):
    _, params, buffers = REPAIR.fit(apply_masks(MODEL.params, MASKS), MODEL.buffers)
    dense = objectives.features_of(MODEL, MODEL.params, MODEL.buffers, INPUTS)
    pruned = objectives.features_of(MODEL, params, buffers, INPUTS)
    assert set(dense.layers) == {"conv2.kernel", "linear.kernel"}  # the first sees the inputs
    assert dense.layers["conv2.kernel"].shape == (len(INPUTS), 8, 8, 6)
    head = {name: MODEL.params[f"linear.{name}"] for name in ("kernel", "bias")}
    again = dense.layers["linear.kernel"] @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(again, dense.logits, rtol=1e-4, atol=1e-5)
    errors = [
        np.square(pruned.layers[name] - one).sum() / np.square(one).sum()
        for name, one in dense.layers.items()
    ]
    errors.append(float(objectives.compare_logits(pruned.logits, dense.logits)[0]))
    found = OBJECTIVES["feature_distance"](key, MASKS)
    assert float(found.fitness) == pytest.approx(np.mean(errors), rel=1e-4)


def _branches(params, inputs):
    hidden = jnp.tanh(inputs @ params["first"])
    return hidden @ params["main"] + hidden @ params["shortcut"]


def test_layers_that_share_their_inputs_count_once_and_dead_features_are_no_nan(key):
    params = {"first": jnp.eye(3), "main": jnp.ones((3, 2)), "shortcut": jnp.eye(3)[:, :2]}
    model = Model.from_fn(_branches, params, (3,))
    features = objectives.features_of(model, params, {}, jnp.eye(2, 3))
    assert list(features.layers) == ["main"]
    dead = features._replace(layers={"main": jnp.zeros((2, 3))})
    assert float(objectives.compare_features(dead, dead)[0]) == pytest.approx(0, abs=1e-6)
    same, _ = objectives.compare_features(features, dead)
    assert float(same) == pytest.approx(float(jnp.mean(features.layers["main"] ** 2)) / 2)


def test_places_of_features_are_few():
    image = jax.random.normal(jax.random.key(0), (2, 33, 5, 4))
    params = {"first": jnp.ones((1, 1, 4, 3)), "second": jnp.ones((1, 1, 3, 2))}
    model = Model.from_fn(_convolutions, params, (33, 5, 4))
    features = objectives.features_of(model, params, {}, image)
    np.testing.assert_allclose(
        features.layers["second"], jnp.tile(image.sum(-1, keepdims=True), 3)[:, ::5], rtol=1e-5
    )


def _convolutions(params, inputs):
    for name in ("first", "second"):
        inputs = jax.lax.conv_general_dilated(
            inputs, params[name], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
    return inputs.mean(axis=(1, 2))


def test_a_weighted_sum_is_the_sum_and_repairs_and_runs_once(key):
    repairs = []

    def counted(params, buffers):
        repairs.append(1)
        return REPAIR.fit(params, buffers)

    repair = REPAIR._replace(fit=counted)
    parts = {
        objectives.kl(MODEL, repair=repair): 0.5,
        objectives.agreement(MODEL, repair=repair): 3,
    }
    inner = objectives.weighted_sum(parts)
    foreign = jax.tree_util.Partial(_foreign)
    total = objectives.weighted_sum(
        [(inner, 2.0), (objectives.logit_mse(MODEL, repair=repair), 1.0), (foreign, 10.0)]
    )
    found = total(key, MASKS)
    assert len(repairs) == 1
    apart = {name: float(OBJECTIVES[name](key, MASKS).fitness) for name in OBJECTIVES}
    expected = apart["kl"] + 6 * apart["agreement"] + apart["logit_mse"] + 10 * 0.25
    assert float(found.fitness) == pytest.approx(expected, rel=1e-4)
    assert int(found.kept) == int(OBJECTIVES["kl"](key, MASKS).kept)


def _foreign(key, masks):
    return Score(jnp.float32(0.25), jnp.float32(0.25), jnp.int32(0))


def test_parts_on_other_inputs_are_not_mixed_up(key):
    parts = [objectives.kl(MODEL, inputs=one) for one in (INPUTS, INPUTS[:4])]
    together = objectives.weighted_sum([(part, 1.0) for part in parts])(key, MASKS)
    apart = sum(float(part(key, MASKS).fitness) for part in parts)
    assert float(together.fitness) == pytest.approx(apart, rel=1e-5)


@pytest.mark.parametrize("parts", [[], [(_foreign, 0.0)], [(_foreign, float("nan"))]])
def test_impossible_weights_are_explained(parts):
    with pytest.raises(ValueError, match="finite and above 0"):
        objectives.weighted_sum(parts)


@pytest.mark.parametrize("form", ["vmap", "matmul", "kernel"])
def test_features_and_sums_under_every_strategy(form, key):
    space = SPACES["offsets"].space
    genomes = jax.vmap(space.sample)(jax.random.split(key, 2))
    score = jax.jit(evaluate, static_argnums=4)
    found, _ = score(space, OBJECTIVES["weighted_sum"], key, genomes, Strategy(form, 2))
    alone = [OBJECTIVES["weighted_sum"](key, space.decode(one)).fitness for one in genomes]
    np.testing.assert_allclose(found, alone, rtol=1e-4)
