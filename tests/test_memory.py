"""Memory: chunks that fit, refusals that say what would, and searches that outlive its end."""

import json
from importlib.resources import files

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from helpers import INPUTS, MODEL, SPARSITY, inputs_for, trees_equal

import jgaprune as jp
from jgaprune.cli import main
from jgaprune.driver import room, run, wiring
from jgaprune.driver.devices import Devices
from jgaprune.driver.plan import Plan
from jgaprune.engine import (
    Fitting,
    Strategy,
    TooLargeError,
    in_words,
    memory_limit,
    most_of,
    smaller,
)
from jgaprune.masks import Layout
from jgaprune.ops import rows


def perceptron(params, inputs):
    return jnp.tanh(inputs @ params["first"]) @ params["second"]


WIDTHS = {"first": (16, 64), "second": (64, 5)}
WIDE = jp.Model.from_fn(
    perceptron,
    {name: jax.random.normal(jax.random.key(3), shape) for name, shape in WIDTHS.items()},
    (16,),
)
"""Its activations grow with the chunk on every backend; XLA fuses small convolutions."""
SEEN = inputs_for(WIDE, 256)
SPACE = jp.spaces.weights(
    jp.saliency.magnitude(WIDE.params, WIDE.layout, SPARSITY), WIDE.layout, SPARSITY
)
OBJECTIVE = jp.objectives.output_distance(WIDE, inputs=SEEN)
POPULATION = 8
CALL = {"sparsity": SPARSITY, "inputs": INPUTS, "supplement": False, "space": "weights"}
CALL["gradient_swaps"] = False  # compiling gradients takes longest
WEIGHTS = str(files("jgaprune.assets") / "digits_cnn.pth")
EIGHT = Strategy("vmap", POPULATION)


def build(strategy):
    evolver = jp.evolvers.genetic(SPACE, population=POPULATION)
    return jp.build_search(
        SPACE, OBJECTIVE, evolver, population=POPULATION, strategy=strategy
    ).compile()


def bytes_with(chunk):
    return most_of(build(Strategy("vmap", chunk)).programs).total


@pytest.fixture(scope="module")
def needs():
    return {chunk: bytes_with(chunk) for chunk in (1, 2, 4, 8)}


def exhausted():
    return jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")


def failing_once(search, called):
    """A search that runs out of memory in its second run, when its state is gone already."""

    def run(state, generations):
        called.append(generations)
        if len(called) == 2:
            for leaf in jax.tree.leaves(state):
                leaf.delete()
            raise exhausted()
        return search.run(state, generations)

    return search._replace(run=run)


@pytest.mark.slow
def test_memory_grows_with_the_chunk_and_holds_what_a_program_is_given(needs):
    assert needs[1] < needs[2] < needs[4] < needs[8]
    search = build(EIGHT)
    given = room.bytes_of((SPACE, OBJECTIVE))
    assert given <= most_of(search.programs).held <= 4 * given


@pytest.mark.slow
@pytest.mark.parametrize("make", [jp.evolvers.genetic, jp.evolvers.random_search])
def test_a_larger_population_needs_little_more_than_its_packed_genomes(make, monkeypatch):
    monkeypatch.setattr(rows, "_ROOM", {"cpu": 2**20})
    monkeypatch.setattr(rows, "_LARGE_BYTES", 2**30)
    layout = Layout(("weights",), ((2**14, 2),))
    space = jp.spaces.weights({"weights": jnp.ones((2**14, 2))}, layout, 0.5)

    def total(population):
        evolver = make(space, population=population)
        search = jp.build_search(space, first_gene, evolver, population=population)
        return most_of(search.compile().programs).total

    assert total(288) - total(32) < 256 * 6 * 2**15 // 8


def first_gene(key, masks):
    value = jnp.float32(masks["weights"][0, 0])
    return jp.Score(value, value, jnp.int32(0))


def test_a_cpu_has_no_more_than_the_machine():
    assert 2**28 < memory_limit() * jax.local_device_count() < 2**50


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [8, 4, 2, 1])
def test_the_chunk_is_the_largest_that_fits(needs, chunk):
    fitting = Fitting(build, EIGHT, needs[chunk])
    assert bytes_with(fitting.strategy.chunk) <= needs[chunk]
    assert fitting.strategy.chunk in (chunk, chunk // 2)  # half at a time, or what is reckoned


@pytest.mark.slow
def test_what_fits_in_no_chunk_is_refused_with_the_numbers(needs):
    with pytest.raises(TooLargeError, match=f"of the {in_words(needs[1] - 1)}") as found:
        Fitting(build, EIGHT, needs[1] - 1)
    assert found.value.need.total == needs[1] and found.value.strategy.chunk == 1


@pytest.mark.slow
def test_a_chunk_that_was_asked_for_is_not_changed_unasked(needs):
    about = {"limit": needs[4], "num_inputs": len(SEEN)}
    with pytest.raises(ValueError, match=r"A chunk of [24] fits"):
        room.fitted(build, EIGHT, shrinks=False, **about)
    assert room.fitted(build, EIGHT, shrinks=True, **about).strategy.chunk in (2, 4)


@pytest.mark.parametrize(("chunk", "expected"), [(8, 4), (3, 1), (1, 1)])
def test_half_of_a_chunk_is_at_least_one(chunk, expected):
    assert smaller(Strategy("vmap", chunk)).chunk == expected


def test_out_of_memory_halves_the_chunk_and_loses_no_generation(key):
    called = []
    fitting = Fitting(lambda strategy: failing_once(build(strategy), called), EIGHT, None)
    search = fitting.search
    state, _ = search.init(key)
    state, first = search.run(state, 2)
    before = jax.tree.map(np.array, (jax.random.key_data(state.key), state.best.genome))
    state, second = search.run(state, 3)
    assert called == [2, 3, 3] and fitting.strategy == Strategy("vmap", 4)
    assert "ran out of memory" in fitting.warnings[0] and len(fitting.warnings) == 1

    plain, half = build(EIGHT), build(Strategy("vmap", 4))
    expected, records = plain.run(plain.init(key)[0], 2)
    assert trees_equal(first, records)
    now = jax.random.key_data(expected.key), expected.best.genome
    assert trees_equal(jax.tree.map(jnp.asarray, before), now)
    expected, records = half.run(expected, 3)
    assert trees_equal(second, records) and trees_equal(state.best, expected.best)


def test_other_errors_and_a_chunk_of_one_end_the_search(key):
    def broken(state, generations):
        raise error

    for error, strategy in ((exhausted(), Strategy("vmap", 1)), (RuntimeError("other"), EIGHT)):
        fitting = Fitting(lambda one: build(one)._replace(run=broken), strategy, None)
        state, _ = fitting.search.init(key)
        with pytest.raises(RuntimeError, match=str(error)[:5]):
            fitting.search.run(state, 1)


@pytest.mark.slow
def test_a_run_outlives_it_and_says_so(monkeypatch, tmp_path):
    called, search = [], wiring.build_search

    class Built:
        def __init__(self, *args, **kwargs):
            self.search = search(*args, **kwargs)

        def compile(self, key):
            return failing_once(self.search.compile(key), called)

    monkeypatch.setattr(wiring, "build_search", Built)
    options = {"strategy": "vmap", "evaluations": 40, "population": 8, "train_steps": 0}
    report = jp.prune(MODEL, **CALL, **options, checkpoint_dir=tmp_path / "kept")
    assert any("ran out of memory with vmap of 4" in warning for warning in report.warnings)
    assert report.settings["strategy"] == "vmap of 2" and report.evaluations == 40
    assert report.history.best == sorted(report.history.best, reverse=True)
    again = jp.Checkpoints(tmp_path / "kept", resume=True)
    assert jp.prune(MODEL, **CALL, **options, checkpoint_dir=again).settings == report.settings


def test_what_cannot_fit_is_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr(run, "_prepare", lambda *args: pytest.fail("something was made"))
    with pytest.raises(ValueError, match="4096 masks need .* smaller population"):
        jp.prune(MODEL, **CALL, population=4096, memory_limit=100_000)
    for limit in ("8GiB", 0):
        with pytest.raises(ValueError, match="memory_limit must be None or bytes"):
            jp.prune(MODEL, **CALL, memory_limit=limit)


def test_islands_on_other_devices_take_no_room_here():
    evolver = jp.evolvers.genetic(SPACE, population=POPULATION)
    about = WIDE, Devices(islands=4), room.bytes_of(WIDE.params) + 1
    room.check_least(Plan(SPACE, evolver, POPULATION), WIDE, Devices(), None)
    with pytest.raises(ValueError, match="32 masks need"):
        room.check_least(Plan(SPACE, evolver, POPULATION, 4), *about)


def test_a_limit_above_what_the_device_has_is_no_promise():
    assert room.room_of(2**60) == room.room_of(None) == memory_limit()
    assert room.room_of(5) == 5


@pytest.mark.slow
def test_a_run_that_goes_on_where_less_fits_says_that_it_rounds_differently(tmp_path, needs):
    options = {"strategy": "vmap", "evaluations": 24, "population": 8, "train_steps": 0}
    whole = jp.prune(MODEL, **CALL, **options, checkpoint_dir=tmp_path / "kept")
    need = jp.plan_memory(MODEL, **CALL, **options).stages[0].total
    again = jp.Checkpoints(tmp_path / "kept", resume=True)
    report = jp.prune(MODEL, **CALL, **options, checkpoint_dir=again, memory_limit=need - 1)
    said = any("rounds differently" in warning for warning in report.warnings)
    assert said == (report.settings["strategy"] != whole.settings["strategy"])
    assert said


def test_a_call_that_cannot_work_is_no_lack_of_memory():
    with pytest.raises(ValueError, match="migrants"):
        jp.plan_memory(MODEL, **CALL, islands=2, migrants=9, population=4)


@pytest.mark.slow
def test_a_plan_is_what_the_search_will_need():
    found = jp.plan_memory(MODEL, **CALL, population=POPULATION, chunk=4, strategy="vmap")
    (stage,) = found.stages
    assert found.fits and stage.strategy == "vmap of 4" and stage.num_inputs == len(INPUTS)
    assert sum(stage.parts.values()) == stage.total > 0
    assert stage.parts["masks"] == 4 * MODEL.layout.num_weights
    assert stage.parts["masked weights"] == 16 * MODEL.layout.num_weights
    words = -(-MODEL.layout.num_weights // 32)
    assert 4 * words * POPULATION <= stage.parts["genomes"] <= 6 * words * POPULATION
    tight = jp.plan_memory(MODEL, **CALL, chunk=4, strategy="vmap", memory_limit=stage.total // 2)
    assert stage.fault is None and tight.stages[0].parts == {}
    assert not tight.fits and "fit" in tight.stages[0].fault.rpartition("activations")[2]


@pytest.mark.slow
def test_a_plan_has_the_inputs_and_stages_of_the_run():
    found = jp.plan_memory(MODEL, sparsity=SPARSITY, num_inputs=32, space="offsets,weights")
    assert [stage.space for stage in found.stages] == ["offsets", "weights"]
    options = {"num_inputs": 32, "space": "offsets,weights", "evaluations": 64, "train_steps": 0}
    report = jp.prune(MODEL, sparsity=SPARSITY, gradient_swaps=False, **options)
    assert {stage.num_inputs for stage in found.stages} == {report.settings["num_inputs"]}


def test_a_plan_refuses_what_a_run_would():
    with pytest.raises(TypeError, match="unknown"):
        jp.plan_memory(MODEL, sparsity=0.5, unknown=1)
    with pytest.raises(ValueError, match="sparsity"):
        jp.plan_memory(MODEL, sparsity=1.5)


@pytest.mark.slow
def test_the_command_prints_the_table_and_runs_nothing(monkeypatch):
    monkeypatch.setattr(Fitting, "_init", lambda *args: pytest.fail("it ran"))
    asked = ["plan", "--weights", WEIGHTS, "--sparsity", "0.9", "--space", "offsets"]
    asked += ["--num-inputs", "16"]
    result = CliRunner().invoke(main, asked)
    assert result.exit_code == 0, result.output
    for row in ("genomes", "masks", "masked weights", "activations", "in all", "headroom"):
        assert row in result.output
    told = json.loads(CliRunner().invoke(main, [*asked, "--json"]).output)
    small = f"{told['stages'][0]['total'] / 2 / 2**20:.2f}MiB"
    result = CliRunner().invoke(main, [*asked, "--memory-limit", small])
    assert result.exit_code == 1 and "does not fit" in result.output
    result = CliRunner().invoke(main, [*asked, "--memory-limit", "much"])
    assert result.exit_code == 2 and "expected a size such as" in result.output
