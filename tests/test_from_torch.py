"""`from_torch` against PyTorch itself; needs the extra `parity`."""

import copy
import sys
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import relative_error

import jgaprune
from jgaprune import repair
from jgaprune.converters import (
    ConversionError,
    from_torch,
    masks_from_source,
    masks_to_source,
    to_source,
)
from jgaprune.inputs import synthesize
from jgaprune.inputs.synthesis import Synthesis
from jgaprune.masks import apply_masks

torch = pytest.importorskip("torch", reason="parity tests need the extra 'parity'")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402, N812
from torch_modules import MODULES, Mixed, Reader, Shuffle, shaken  # noqa: E402

pytestmark = pytest.mark.parity
TOLERANCE = {"float32": 1e-5, "float64": 1e-10}


def network(name):
    build, _ = MODULES[name]
    torch.manual_seed(1)
    return shaken(build()).eval()


@cache
def converted(name):
    return from_torch(network(name), images(name, 2))


def images(name, num, dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(num, *MODULES[name][1], generator=generator, dtype=dtype)


def ours(model, inputs):
    with jax.default_matmul_precision("highest"):
        return np.asarray(jax.jit(model.apply)(model.params, model.buffers, inputs.numpy()))


def theirs(module, inputs):
    with torch.no_grad():
        return module(inputs).numpy()


def assert_same(module, model, inputs, dtype="float32"):
    reference = theirs(module, inputs)
    assert np.abs(reference).max() > 0.1
    assert np.ptp(reference, axis=0).max() > 1e-3, "the inputs make no difference"
    assert relative_error(ours(model, inputs), reference) <= TOLERANCE[dtype]


@pytest.mark.parametrize("num", [1, 3])
@pytest.mark.parametrize("name", MODULES)
def test_same_logits_for_any_number_of_inputs(name, num):
    inputs = images(name, 3)
    expected, found = theirs(network(name), inputs)[:num], ours(converted(name), inputs[:num])
    assert relative_error(found, expected) <= TOLERANCE["float32"]
    assert_same(network(name), converted(name), inputs)


@pytest.mark.parametrize("name", MODULES)
def test_same_logits_in_float64(name):
    with jax.enable_x64(True):
        module, inputs = network(name).double(), images(name, 2, torch.float64)
        model = from_torch(module, inputs)
        assert all(leaf.dtype == np.float64 for leaf in model.params.values())
        assert_same(module, model, inputs, "float64")


def random_masks(model, num):
    keys = jax.random.split(jax.random.key(3), len(model.layout.names))
    shapes = zip(keys, model.layout.names, model.layout.shapes, strict=True)
    return {name: jax.random.bernoulli(key, 0.6, (num, *shape)) for key, name, shape in shapes}


def masked(module, model, masks):
    """A copy of the module with masks applied by torch itself, by the names of its state."""
    module = copy.deepcopy(module)
    state = module.state_dict()
    for name, mask in masks_to_source(model, masks).items():
        state[name] *= torch.from_numpy(mask)
    module.load_state_dict(state)
    return module


@pytest.mark.parametrize("name", MODULES)
def test_every_member_of_a_population_is_its_own_masked_network(name):
    model, inputs = converted(name), images(name, 3)
    masks = random_masks(model, 3)

    def forward(masks):
        return model.apply(apply_masks(model.params, masks), model.buffers, inputs.numpy())

    population = np.asarray(jax.jit(jax.vmap(forward))(masks))
    for member, logits in enumerate(population):
        one = {name: mask[member] for name, mask in masks.items()}
        reference = theirs(masked(network(name), model, one), inputs)
        assert relative_error(logits, reference) <= TOLERANCE["float32"]


def test_a_language_model_reads_tokens_of_its_vocabulary():
    module = shaken(Reader()).eval()
    tokens = torch.randint(11, (3, 6), generator=torch.Generator().manual_seed(0))
    model = from_torch(module, (tokens,))
    spec = model.spec
    assert (spec.vocabulary, spec.input_shape, spec.label_shape) == (11, (6,), (6,))
    assert relative_error(ours(model, tokens), theirs(module, tokens)) <= TOLERANCE["float32"]


def test_tied_tensors_are_one_leaf_and_no_table_is_prunable():
    model = from_torch(shaken(Reader()), torch.zeros(2, 6, dtype=torch.int64))
    assert list(model.params) == ["embed.weight", "mix.weight", "mix.bias"]
    assert not model.buffers
    assert model.spec.prunable == ("mix.weight",)
    state = to_source(model, model.params, model.buffers)
    np.testing.assert_array_equal(state["embed.weight"], state["head.weight"])


def test_leaves_have_their_names_and_flax_layout():
    model = converted("mixed")
    assert model.params["stem.weight"].shape == (3, 3, 3, 8)
    assert model.params["depthwise.weight"].shape == (3, 5, 1, 8)
    assert model.params["head.weight"].shape == (64, 5)
    assert set(model.buffers) == {
        f"{norm}.{kind}"
        for norm in ("bn", "bn2")
        for kind in ("mean", "var", "num_batches_tracked")
    }
    assert model.spec.norms == ("bn", "bn2")
    assert model.spec.prunable == tuple(
        f"{layer}.weight" for layer in ("stem", "grouped", "depthwise", "squeeze", "excite", "head")
    )


def test_other_weights_in_matrix_products_are_prunable_too():
    assert {
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "encoder.self_attn.in_proj_weight",
        "qkv.weight",
    } <= set(converted("attention").spec.prunable)
    assert "wide.weight" in converted("upward").spec.prunable
    assert not {"token", "bias"} & {*converted("attention").spec.prunable}


class ByHand(nn.Module):
    """Matrix products without layers, in both layouts."""

    def __init__(self):
        super().__init__()
        self.first = nn.Parameter(torch.randn(6, 4))
        self.second = nn.Parameter(torch.randn(3, 4))
        self.offset = nn.Parameter(torch.randn(3))

    def forward(self, x):
        return torch.addmm(self.offset, torch.tanh(x @ self.first), self.second.t())


def test_weights_by_hand_are_held_inputs_first():
    module, inputs = ByHand(), torch.randn(3, 6)
    model = from_torch(module, inputs)
    assert model.spec.prunable == ("first", "second")
    assert [model.params[name].shape for name in model.spec.prunable] == [(6, 4), (4, 3)]
    assert_same(module, model, inputs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_state_comes_back_bit_for_bit(dtype):
    module = shaken(Mixed()).to(dtype)
    model = from_torch(module, torch.zeros(2, 3, 18, 22, dtype=dtype))
    assert all(leaf.dtype == jnp.float32 for leaf in model.params.values())
    tensors = to_source(model, model.params, model.buffers)
    state = module.state_dict()
    assert list(tensors) == list(state)
    for name, tensor in state.items():
        assert str(tensors[name].dtype) == str(tensor.dtype).removeprefix("torch.")
        held = tensor.float() if dtype == torch.float64 else tensor  # float32 has fewer bits
        np.testing.assert_array_equal(
            tensors[name].astype(np.float32), held.to(torch.float32).numpy()
        )


def test_torch_loads_what_comes_back():
    module, model, inputs = network("mixed"), converted("mixed"), images("mixed", 3)
    halved = {name: leaf / 2 for name, leaf in model.params.items()}
    tensors = to_source(model, halved, model.buffers)
    other = Mixed().eval()
    other.load_state_dict({n: torch.from_numpy(a) for n, a in tensors.items()}, strict=True)
    expected = ours(model._replace(params=halved), inputs)
    assert relative_error(theirs(other, inputs), expected) <= TOLERANCE["float32"]
    assert relative_error(expected, theirs(module, inputs)) > 0.01


def test_masks_go_there_and_back():
    model = converted("upward")
    masks = {name: mask[0] for name, mask in random_masks(model, 1).items()}
    again = masks_from_source(model, masks_to_source(model, masks))
    assert all(np.array_equal(masks[name], again[name]) for name in masks)


def test_a_training_module_is_converted_as_it_evaluates_and_goes_on_training():
    module = network("mixed").train()
    module.bn2.eval()
    before = copy.deepcopy(module.state_dict())
    model = from_torch(module, images("mixed", 2))
    modes = {name: part.training for name, part in module.named_modules()}
    assert modes.pop("bn2") is False
    assert all(modes.values())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert_same(network("mixed"), model, images("mixed", 3))


def test_weights_are_copied():
    module = network("shuffle")
    model = from_torch(module, images("shuffle", 2))
    before = {name: np.array(leaf) for name, leaf in model.params.items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert all(np.array_equal(before[name], leaf) for name, leaf in model.params.items())


def test_equal_modules_share_one_compiled_program():
    first, second = converted("mixed"), from_torch(network("mixed"), images("mixed", 2))
    assert jax.tree.structure(first.apply) == jax.tree.structure(second.apply)
    assert hash(jax.tree.structure(first.apply)) == hash(jax.tree.structure(second.apply))
    traced = []

    def forward(model, inputs):
        traced.append(model)
        return model.apply(model.params, model.buffers, inputs)

    jitted = jax.jit(forward)
    jitted(first, images("mixed", 2).numpy())
    jitted(second, images("mixed", 2).numpy())
    assert len(traced) == 1


def test_weights_are_arguments_of_the_program():
    model = converted("windows")
    inputs = images("windows", 2).numpy()
    program = jax.make_jaxpr(lambda m, x: m.apply(m.params, m.buffers, x))(model, inputs)
    assert sum(np.size(constant) for constant in program.consts) == 0


def test_batch_norm_is_seen_and_ruled():
    module, model, inputs = network("mixed"), converted("mixed"), images("mixed", 6)
    logits, records = model.observe(
        model.params, model.buffers, inputs.numpy(), lambda name, batch, stored: batch
    )
    trained = copy.deepcopy(module)
    for norm in (trained.bn, trained.bn2):
        norm.momentum = 1.0
        norm.train()
    reference = theirs(trained, inputs)
    assert relative_error(np.asarray(logits), reference) <= TOLERANCE["float32"]
    for name in ("bn", "bn2"):
        stored = getattr(trained, name)
        np.testing.assert_allclose(records[name].used.mean, stored.running_mean, atol=1e-5)


def test_batch_norm_delta_repairs_what_masks_did():
    model, inputs = converted("mixed"), images("mixed", 64).numpy()
    _, records = model.observe(model.params, model.buffers, inputs, lambda n, batch, stored: batch)
    buffers = dict(model.buffers)
    for name, record in records.items():  # as if it had been trained on them
        buffers[f"{name}.mean"], buffers[f"{name}.var"] = record.used
    model = model._replace(buffers=buffers)
    masks = {name: mask[0] for name, mask in random_masks(model, 1).items()}
    pruned = apply_masks(model.params, masks)
    _, _, repaired = repair.batch_norm_delta(model, inputs, max_mean_shift=50.0).fit(
        pruned, model.buffers
    )
    _, records = model.observe(pruned, repaired, inputs, lambda n, batch, stored: stored)
    for name, record in records.items():
        np.testing.assert_allclose(record.used.mean, record.batch.mean, atol=1e-4, err_msg=name)
    assert set(repaired) == set(buffers)


def test_synthesis_knows_which_axes_are_spatial(key):
    model = converted("mixed")
    made = synthesize(model, key, 16, Synthesis(steps=10))
    assert made.shape == (16, 3, 18, 22)
    apart = [float(jnp.mean(jnp.square(jnp.diff(made, axis=axis)))) for axis in (1, 2, 3)]
    assert max(apart[1:]) < apart[0]


class FromTheLast(nn.Module):
    """Weights turned by axes that are counted from the last one."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        return x @ self.weight.permute(-1, 0)


def test_axes_may_be_counted_from_the_last():
    module, inputs = FromTheLast(), torch.randn(3, 4)
    model = from_torch(module, inputs)
    assert_same(module, model, inputs)
    back = to_source(model, model.params, model.buffers)
    np.testing.assert_array_equal(back["weight"], module.weight.detach().numpy())


class ByNumber(nn.Module):
    """Does something else with many inputs."""

    def forward(self, x):
        return x * 2 if x.shape[0] > 4 else x


def test_a_program_for_some_numbers_of_inputs_is_not_taken_for_all():
    module = nn.Sequential(nn.Linear(4, 3), ByNumber())
    with pytest.warns(UserWarning, match="number of inputs"):
        model = from_torch(module, torch.randn(3, 4))
    assert_same(module, model, torch.randn(3, 4))


class Hidden(nn.Module):
    """Attention whose first position may look at nothing, by an infinite number."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)
        mask = torch.zeros(5, 5).masked_fill(torch.ones(5, 5).triu() > 0, -torch.inf)
        self.register_buffer("mask", mask)

    def forward(self, x):
        return self.head(nn.functional.scaled_dot_product_attention(x, x, x, self.mask).sum(1))


def test_attention_to_nothing_is_zero():
    module, inputs = Hidden(), torch.randn(3, 5, 4)
    assert_same(module, from_torch(module, inputs), inputs)


class Table(nn.Module):
    """Looks tokens up without an embedding layer."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(7, 4))
        self.head = nn.Linear(4, 3)

    def forward(self, tokens):
        return self.head(self.table[tokens].mean(1))


def test_tokens_of_an_unknown_number_are_asked_for():
    tokens = torch.randint(0, 7, (3, 5))
    with pytest.raises(ConversionError, match="Pass vocabulary="):
        from_torch(Table(), tokens)
    module = Table()
    model = from_torch(module, tokens, vocabulary=7)
    assert model.spec.vocabulary == 7
    assert_same(module, model, tokens)


class FixedBatch(nn.Module):
    """Asks Python for the number of inputs."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        num = int(x.shape[0])
        return self.head(self.bn(self.conv(x)).amax((2, 3)).reshape(num, 4))


def test_a_program_for_one_number_of_inputs_takes_them_one_by_one():
    module, inputs = shaken(FixedBatch()).eval(), torch.randn(3, 3, 8, 8)
    with pytest.warns(UserWarning, match=r"asks Python for the number of inputs.*x\.shape\[0\]"):
        model = from_torch(module, inputs)
    assert_same(module, model, inputs)
    assert model.spec.norms == ("bn",)
    _, records = model.observe(
        model.params, model.buffers, inputs.numpy(), lambda name, batch, stored: batch
    )
    module.bn.momentum = 1.0
    reference = theirs(module.train(), inputs)
    np.testing.assert_allclose(records["bn"].used.mean, module.bn.running_mean, atol=1e-5)
    logits, _ = model.observe(
        model.params, model.buffers, inputs.numpy(), lambda name, batch, stored: batch
    )
    assert relative_error(np.asarray(logits), reference) <= TOLERANCE["float32"]


class Wrapped(nn.Module):
    """Returns more than logits, from a keyword argument behind another one."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, other=None, pixels=None):
        return {"hidden": None, "scores": self.head(pixels), "pixels": pixels}


def test_the_first_tensor_of_an_output_counts():
    module, inputs = shaken(Wrapped()), torch.randn(3, 4)
    model = from_torch(module, {"pixels": inputs})
    assert relative_error(ours(model, inputs), module.head(inputs).detach().numpy()) < 1e-5


class ByValue(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(x) if x.sum() > 0 else self.head(-x)


class Dropping(ByValue):
    def forward(self, x):
        return self.head(F.dropout(x, 0.5, training=True))


class Sampling(ByValue):
    def forward(self, x):
        return self.head(x + torch.randn_like(x))


class Batchwise(ByValue):
    def forward(self, x):
        return self.head(F.batch_norm(x, None, None, training=True))


class Counting(ByValue):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.head(x)


class Missing(ByValue):
    def forward(self, x):
        return self.head(torch.special.i0(x) + torch.erfinv(x) + torch.special.i0(-x))


class Textual(ByValue):
    def forward(self, x):
        return str(x.shape)


def quantised():
    module = ByValue()
    module.register_buffer("weight", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))
    module.register_buffer("phase", torch.ones(2, dtype=torch.complex64))
    module.register_buffer("few", torch.eye(2).to_sparse())
    return module


REFUSALS = {
    "by_value": (ByValue, "Python decides by the values.*torch.where"),
    "dropout": (Dropping, "draws random numbers.*dropout must follow `self.training`"),
    "random": (Sampling, "draws random numbers"),
    "batch_statistics": (Batchwise, "statistics of the batch.*running statistics"),
    "changed_buffers": (Counting, "forward pass changes calls.*if self.training"),
    "missing": (Missing, r"no JAX function for erfinv.default \(1\), i0.default \(2\)"),
    "no_tensor": (Textual, "returns a str, expected a tensor of logits.*Wrap it"),
    "weights": (quantised, "weight is quantised.*phase is complex.*few is sparse.*dequantise"),
}


@pytest.mark.parametrize("build, message", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.filterwarnings("ignore:.*quantize")
def test_refusals_say_what_to_do(build, message):
    with pytest.raises(ConversionError, match=f"(?s){message}"):
        from_torch(build(), torch.zeros(2, 4))


@pytest.mark.parametrize(
    "example", [(), (torch.zeros(2, 4), torch.zeros(2, 4)), torch.zeros(4), "images"]
)
def test_one_array_is_asked_for(example):
    with pytest.raises(ConversionError, match=r"one array \[N, \.\.\.\].*Wrap a module"):
        from_torch(ByHand(), example)


def test_what_is_no_module_is_refused():
    with pytest.raises(ConversionError, match=r"got dict.*converters\.load"):
        from_torch({}, torch.zeros(2, 4))


@pytest.mark.parametrize("missing", ["torch", "torch.export"])
def test_without_torch_a_pair_that_works_is_named(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ConversionError, match=r"jgaprune\[torch\].*torch 2.13.0 with jax 0.10.2"):
        from_torch(ByHand(), torch.zeros(2, 6))


@pytest.mark.slow
def test_the_default_call_prunes_a_converted_network():
    model = converted("shuffle")
    report = jgaprune.prune(
        model,
        sparsity=0.5,
        inputs=images("shuffle", 32).numpy(),
        supplement=False,
        evaluations=16,
        train_steps=4,
    )
    assert (report.settings["space"], report.settings["repair"]) == ("bases", "distil")
    tensors = to_source(model, report.params, report.buffers)
    pruned = Shuffle().eval()
    pruned.load_state_dict({n: torch.from_numpy(a) for n, a in tensors.items()}, strict=True)
    logits = model.apply(report.params, report.buffers, images("shuffle", 3).numpy())
    assert relative_error(np.asarray(logits), theirs(pruned, images("shuffle", 3))) <= 1e-5
    zeros = sum(int((tensors[f"{name}"] == 0).sum()) for name in model.spec.prunable)
    assert zeros >= model.layout.num_weights // 2
