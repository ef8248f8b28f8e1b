"""What `jgaprune bench` counts and times."""

import json

import jax
import jax.numpy as jnp
import pytest
from click.testing import CliRunner

from jgaprune import converters
from jgaprune.bench import bench, count_flops, in_turns
from jgaprune.bench.bench import _working, fastest_strategy
from jgaprune.bench.ours import make_task
from jgaprune.bench.text import as_text
from jgaprune.cli import main
from jgaprune.engine import SEQUENTIAL, Strategy

KEYS = {
    "ours",
    "competitors",
    "pure_inference_fraction",
    "update_fraction",
    "peak_memory_bytes",
    "compile_seconds",
    "device",
    "versions",
}


def test_operations_of_the_papers_network():
    model = converters.untrained("paper_mnist")
    inputs = jax.ShapeDtypeStruct((5, 28, 28, 1), jnp.float32)
    per_input = 2 * (26 * 26 * 9 * 32 + 24 * 24 * 9 * 32 * 64 + 9216 * 128 + 128 * 10)
    assert count_flops(model.apply, model.params, model.buffers, inputs) == 5 * per_input


def test_everything_is_timed_in_turns():
    order = []
    runners = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    timings = in_turns(runners, rounds=3, at_least_seconds=0.0)
    assert order == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert all(len(timing.samples) == 3 for timing in timings.values())
    assert all(timing.low <= timing.median <= timing.high for timing in timings.values())


@pytest.mark.parametrize(
    "strategy",
    [
        SEQUENTIAL,
        Strategy("matmul", 2),
        None,
    ],
    ids=str,
)
@pytest.mark.slow
def test_everyone_computes_the_same(strategy):
    result = bench(
        converters.untrained("lenet5"), num_inputs=8, population=4, strategy=strategy, rounds=2
    )
    assert set(result) >= KEYS
    for name, rival in result["competitors"].items():
        assert rival["forwards_per_second"] > 0
        assert rival["largest_difference"] == (None if name == "paper_loop" else 0.0)
    assert result["update_fraction"] > 0
    assert result["ours"]["forwards_per_second"] > 0
    shown = as_text(result)
    assert all(name in shown for name in ("jgaprune", *result["competitors"]))


@pytest.mark.slow
def test_command_line():
    arguments = ["bench", "--arch", "mlp", "--inputs", "4", "--population", "2", "--rounds", "1"]
    done = CliRunner().invoke(main, [*arguments, "--strategy", "vmap", "--no-rivals", "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert set(result) >= KEYS
    assert result["ours"]["strategy"] == "vmap of 2"


def test_command_line_needs_a_network():
    done = CliRunner().invoke(main, ["bench"])
    assert done.exit_code == 2
    assert "--arch NAME" in done.stderr


def test_untrained_weights_follow_their_seed():
    first, again, other = (converters.untrained("mlp", seed=seed) for seed in (1, 1, 2))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), first.params, again.params))
    assert not jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), first.params, other.params))


@pytest.mark.slow
def test_dtype_and_chunk_hold_for_what_is_tried():
    model = converters.untrained("mlp")
    task = make_task(model, jnp.ones((2, *model.spec.input_shape)), 4, 0.5, jax.random.key(0))
    found = fastest_strategy(task, jax.random.key(1), dtype="bfloat16", chunk=3)
    assert found.dtype == "bfloat16"
    assert found.chunk in (1, 3)


def test_impossible_measurements_are_explained():
    with pytest.raises(ValueError, match="population must be at least 2, got 1; rounds"):
        bench(converters.untrained("mlp"), population=1, rounds=0)


def test_a_rival_that_fails_is_left_out_with_its_reason():
    def fails():
        raise MemoryError("too large\nfor this device")

    working, failures = _working({"one": lambda: 1, "other": fails})
    assert list(working) == ["one"]
    assert failures == {"other": "too large"}
