import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    BUDGET,
    LAYOUT,
    MODEL,
    OTHER_SALIENCIES,
    SALIENCIES,
    SPACES,
    SPARSITY,
    base,
    count,
    trees_equal,
)

from jgaprune import saliency, spaces
from jgaprune.masks import Layout, count_bits, join, pack, unpack
from jgaprune.spaces.offsets import blocks

EVERY_SPACE = pytest.mark.parametrize("case", SPACES.values(), ids=SPACES.keys())


@EVERY_SPACE
def test_samples_keep_the_budget(case, key):
    for sample_key in jax.random.split(key, 3):
        assert count(case.space.decode(case.space.sample(sample_key))) == case.budget


@EVERY_SPACE
@pytest.mark.parametrize("strength", [0.0, 0.01, 1.0])
def test_mutation_keeps_the_budget(case, strength, key):
    child = case.space.mutate(key, case.space.sample(key), jnp.float32(strength))
    assert count(case.space.decode(child)) == case.budget


@EVERY_SPACE
def test_crossover_keeps_the_budget(case, key):
    first, second, cross = jax.random.split(key, 3)
    child = case.space.cross(cross, case.space.sample(first), case.space.sample(second))
    assert count(case.space.decode(child)) == case.budget


@EVERY_SPACE
@pytest.mark.parametrize("value", [0.0, 1e30, -1e30], ids=["zero", "huge", "minus_huge"])
def test_extreme_genomes_keep_the_budget(case, value, key):
    genome = case.space.sample(key)
    if genome.dtype == jnp.uint32:
        pytest.skip("a packed genome has its budget in its bits: there are no other extremes")
    value = jnp.float32(value).astype(genome.dtype)
    assert count(case.space.decode(jnp.full_like(genome, value))) == case.budget
    assert count(case.space.decode(genome.at[0].set(value))) == case.budget


@EVERY_SPACE
def test_operators_keep_their_types_under_strict_promotion(case, key):
    space = case.space

    def types(key):
        genome = space.sample(key)
        child = space.mutate(key, space.cross(key, genome, genome), jnp.float32(0.3))
        return genome, child, space.encode(space.decode(child))

    with jax.numpy_dtype_promotion("strict"):
        genome, child, encoded = jax.eval_shape(types, key)
    assert genome.dtype == child.dtype == encoded.dtype


@EVERY_SPACE
def test_strength_zero_changes_nothing(case, key):
    genome = case.space.sample(key)
    assert trees_equal(case.space.mutate(key, genome, jnp.float32(0.0)), genome)


@EVERY_SPACE
def test_a_child_of_twins_is_their_twin(case, key):
    genome = case.space.sample(key)
    assert trees_equal(case.space.cross(key, genome, genome), genome)


@EVERY_SPACE
def test_stronger_mutation_changes_more_weights(case, key):
    genome = case.space.sample(key)
    before = np.asarray(join(case.space.decode(genome), LAYOUT))

    @jax.jit
    def changed(strength):
        children = jax.vmap(case.space.mutate, (0, None, None))(
            jax.random.split(key, 32), genome, jnp.float32(strength)
        )
        return jnp.mean(
            before != jax.vmap(lambda one: join(case.space.decode(one), LAYOUT))(children)
        )

    assert changed(0.02) < changed(0.8)


@EVERY_SPACE
def test_vmap_and_jit_give_what_one_genome_gives(case, key):
    genomes = jax.vmap(case.space.sample)(jax.random.split(key, 3))
    together = jax.jit(jax.vmap(case.space.decode))(genomes)
    for index in range(3):
        alone = case.space.decode(genomes[index])
        assert trees_equal(jax.tree.map(lambda leaf, i=index: leaf[i], together), alone)


@pytest.mark.parametrize("name", ["bases", "offsets", "offsets_input_channel", "weights"])
@pytest.mark.parametrize("score", SALIENCIES.values(), ids=SALIENCIES.keys())
def test_every_one_shot_mask_can_seed_exactly(name, score):
    masks = saliency.one_shot(score(MODEL.params, LAYOUT, SPARSITY), LAYOUT, SPARSITY)
    space = SPACES[name].space
    assert trees_equal(space.decode(space.encode(masks)), masks)


@pytest.mark.parametrize("index", range(3))
def test_every_base_has_a_genome_for_its_own_mask(index):
    saliencies = [base(), *(OTHER_SALIENCIES[name](SPARSITY) for name in ("lookahead", "wanda"))]
    masks = saliency.one_shot(saliencies[index], LAYOUT, SPARSITY)
    space = SPACES["bases"].space
    assert trees_equal(space.decode(space.encode(masks)), masks)


def test_an_offset_counts_alike_on_every_base():
    """Near the threshold, one layer's offset multiplies what it keeps by the same factor."""
    flat = jnp.linspace(1.0, 2.0, 1000)
    layout = Layout(("a", "b"), ((20, 50), (100, 100)))
    first = {"a": flat.reshape(20, 50), "b": jnp.tile(flat, 10).reshape(100, 100)}
    second = {name: scores**3 for name, scores in first.items()}
    space = spaces.bases([first, second], layout, 0.8)
    kept = [int(space.decode(jnp.array([0.3, 0.0, pick, pick]))["a"].sum()) for pick in (0.5, 1.5)]
    assert kept[0] == kept[1] == pytest.approx(200 * np.exp(0.3), rel=0.1)


def test_crossing_bases_takes_each_layer_whole_from_a_parent(key):
    space = SPACES["bases"].space
    layers = len(LAYOUT.names)
    first, second = jnp.full(2 * layers, 0.2), jnp.full(2 * layers, 1.7)
    child = space.cross(key, first, second)
    for layer in range(layers):
        pair = (float(child[layer]), float(child[layers + layer]))
        assert pair in [(float(one[0]), float(one[0])) for one in (first, second)]


def test_packed_crossover_takes_agreed_weights_from_both(key):
    space = SPACES["weights"].space
    first, second = (space.sample(k) for k in jax.random.split(key))
    child = space.cross(key, first, second)
    assert int(count_bits(first & second & ~child)) == 0
    assert int(count_bits(child & ~(first | second))) == 0


def test_two_point_crossover_has_two_cuts_at_most(key):
    space = SPACES["weights_two_point"].space
    first, second = (space.sample(k) for k in jax.random.split(key))
    one, other = (np.asarray(join(space.decode(parent), LAYOUT)) for parent in (first, second))
    shares = []
    for cross_key in jax.random.split(key, 20):
        child = np.asarray(join(space.decode(space.cross(cross_key, first, second)), LAYOUT))
        from_one = (child == one)[one != other]
        assert np.abs(np.diff(from_one.astype(int))).sum() <= 2
        shares.append(from_one.mean())
    assert min(shares) < 0.5 < max(shares)  # either parent may be the one that gives more


def test_packed_mutation_reaches_every_movable_weight_alike(key):
    space = SPACES["weights"].space
    genome = space.encode(
        saliency.one_shot(saliency.magnitude(MODEL.params, LAYOUT, SPARSITY), LAYOUT, SPARSITY)
    )
    mutate = jax.jit(jax.vmap(space.mutate, in_axes=(0, None, None)))
    children = mutate(jax.random.split(key, 3000), genome, jnp.float32(0.05))
    flips = np.unpackbits(
        np.asarray(children ^ genome).view(np.uint8), axis=1, bitorder="little"
    ).mean(axis=0)[: LAYOUT.num_weights]
    kept = np.asarray(join(space.decode(genome), LAYOUT))
    for group in (kept, ~kept):
        rates = flips[group]
        movable = rates > 0
        assert movable.mean() > 0.97  # the rest is protected
        assert np.std(rates[movable]) < 0.35 * np.mean(rates[movable])


@pytest.mark.parametrize("name", ["weights", "weights_near"])
def test_protected_weights_never_leave(name, key):
    space = SPACES[name].space
    scores = saliency.protect(saliency.magnitude(MODEL.params, LAYOUT, 0.75), LAYOUT, BUDGET)
    protected = pack(jnp.isposinf(join(scores, LAYOUT)))
    genome = space.sample(key)
    for mutate_key in jax.random.split(key, 5):
        genome = space.mutate(mutate_key, genome, jnp.float32(1.0))
        assert int(count_bits(protected & ~genome)) == 0


@pytest.mark.parametrize("start", ["one_shot", "random"])
def test_weights_near_the_threshold_move_more(start, key):
    space = SPACES["weights_near"].space
    masks = saliency.one_shot(saliency.magnitude(MODEL.params, LAYOUT, SPARSITY), LAYOUT, SPARSITY)
    genome = space.encode(masks) if start == "one_shot" else space.sample(key)
    mutate = jax.jit(jax.vmap(space.mutate, in_axes=(0, None, None)))
    children = mutate(jax.random.split(key, 500), genome, jnp.float32(0.05))
    assert float(jnp.mean(jnp.any(children != genome, axis=1))) > 0.9
    moved = jax.vmap(lambda one: unpack(one ^ genome, LAYOUT.num_weights))(children).mean(axis=0)
    ranks = jnp.argsort(jnp.argsort(-join(base(), LAYOUT)))
    distance = jnp.abs(ranks - BUDGET + 0.5)
    near, far = distance < 0.05 * LAYOUT.num_weights, distance > 0.15 * LAYOUT.num_weights
    assert float(moved[near].mean()) > 4 * float(moved[far].mean())


def test_offsets_favour_the_layer_with_the_larger_gene():
    space = SPACES["offsets"].space
    genome = jnp.zeros(len(LAYOUT.names))
    more = space.decode(genome.at[1].set(1.0))[LAYOUT.names[1]]
    assert int(more.sum()) > int(space.decode(genome)[LAYOUT.names[1]].sum())


BLOCKS = Layout(
    ("stem.kernel", "layer1.0.conv1.kernel", "layer1.0.conv2.kernel", "layer1.1.conv1.kernel"),
    ((3, 3, 2, 4), (3, 3, 4, 4), (3, 3, 4, 4), (36,)),
)


@pytest.mark.parametrize(
    ("detail", "num_genes"),
    [("block", 3), ("layer", 4), ("output_channel", 4 + 12 + 36), ("input_channel", 4 + 2 + 4 + 4)],
)
def test_every_detail_has_its_genes_and_they_favour_what_they_stand_for(detail, num_genes, key):
    scores = {
        name: 1.0 + jax.random.uniform(key, shape)
        for name, shape in zip(BLOCKS.names, BLOCKS.shapes, strict=True)
    }
    space = spaces.offsets(scores, BLOCKS, 0.2, detail=detail)
    genome = jnp.zeros_like(space.sample(key))
    assert genome.size == num_genes
    kept = space.decode(genome.at[1].set(10.0))
    favoured = BLOCKS.names[1:3] if detail == "block" else BLOCKS.names[1:2]
    others = set(BLOCKS.names) - set(favoured)
    assert all(kept[name].all() for name in favoured)
    assert not any(kept[name].all() for name in others)
    if "channel" in detail:
        last = BLOCKS.names[2 if detail == "input_channel" else 3]
        kept = np.asarray(space.decode(genome.at[-1].set(10.0))[last])
        axis = kept.ndim - 2 if detail == "input_channel" else kept.ndim - 1
        assert np.all(np.take(kept, -1, axis=axis))
        assert not kept.all()


def test_blocks_are_what_names_have_in_common():
    names = ("Block_0.Conv_0.kernel", "Block_0.Conv_1.kernel", "Dense_0.kernel", "a.b.kernel")
    numbers = ("layers.0.kernel", "layers.10.kernel", "layers.1.kernel", "conv1.kernel")
    found = blocks(Layout(names + numbers, ((1,),) * 8))
    assert found == (names[:2], *((name,) for name in (*names[2:], *numbers)))


def test_offsets_per_block_keep_the_share_of_each_block(key):
    scores = {name: jnp.ones(shape) for name, shape in zip(*vars(BLOCKS).values(), strict=True)}
    scores = {name: one + jax.random.uniform(key, one.shape) for name, one in scores.items()}
    fine, coarse = (spaces.offsets(scores, BLOCKS, 0.5, detail=one) for one in ("layer", "block"))
    wanted = fine.decode(jnp.array([0.1, -0.2, 0.1, 0.2]))
    found = coarse.decode(coarse.encode(wanted))
    for group in blocks(BLOCKS):
        assert sum(int(found[name].sum()) for name in group) == sum(
            int(wanted[name].sum()) for name in group
        )


def test_an_unknown_detail_is_explained():
    with pytest.raises(ValueError, match="detail must be one of block, layer"):
        spaces.offsets(base(), LAYOUT, SPARSITY, detail="channel")


@pytest.mark.parametrize("change", [{"crossover": "two"}, {"near": 0.5}, {"near": 0.0}])
def test_settings_of_weights_out_of_range_are_explained(change):
    with pytest.raises(ValueError, match=f"{next(iter(change))} must be"):
        spaces.weights(saliency.magnitude(MODEL.params, LAYOUT, 0.5), LAYOUT, 0.5, **change)


@pytest.mark.parametrize("near", [None, 0.1])
@pytest.mark.parametrize(("num_weights", "sparsity"), [(100, 0.001), (1, 0.5), (3, 0.4)])
def test_masks_that_leave_nothing_to_swap_stay_as_they_are(num_weights, sparsity, near, key):
    layout = Layout(("w",), ((num_weights,),))
    space = spaces.weights({"w": jnp.ones(num_weights)}, layout, sparsity, near=near)
    genome, other = space.sample(key), space.sample(jax.random.key(1))
    kept = int(count_bits(genome))
    assert int(count_bits(space.mutate(key, genome, jnp.float32(1.0)))) == kept
    assert int(count_bits(space.cross(key, genome, other))) == kept
