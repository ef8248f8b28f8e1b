"""Keras files without Keras: reading, refusing, networks of NumPy's answers, writing back."""

import json
import sys
import types

import jax
import numpy as np
import pytest
from keras_files import dense_stack, hdf5_bytes, keras_bytes, layer, old_bytes

h5py = pytest.importorskip("h5py", reason="files of Keras are read with h5py")

from jgaprune import converters  # noqa: E402
from jgaprune.converters.formats import FormatError, hdf5, read, write_keras  # noqa: E402

RNG = np.random.default_rng(0)
W = RNG.standard_normal((4, 3)).astype(np.float32)


def file(folder, data, name="w.h5"):
    (folder / name).write_bytes(data)
    return folder / name


def logits(model, inputs, params=None):
    return np.asarray(model.apply(params or model.params, model.buffers, inputs))


def test_arrays_names_types_and_their_order(tmp_path):
    arrays = {f"layers/dense_{i}/vars/0": np.full((2, 2), i, np.float32) for i in (10, 2, 1)}
    arrays |= {"a/vars/0": np.arange(3, dtype=">i8"), "b/vars/0": np.float16(2.5)}
    source = read(file(tmp_path, hdf5_bytes(arrays)))
    assert source.format == "hdf5"
    assert list(source.tensors) == [
        "a/vars/0",
        "b/vars/0",
        *(f"layers/dense_{i}/vars/0" for i in (1, 2, 10)),
    ]
    for name, array in source.tensors.items():
        assert array.dtype == np.asarray(arrays[name]).dtype.newbyteorder("=")
        assert array.tolist() == np.asarray(arrays[name]).tolist()


def test_bfloat16_as_keras_notes_it(tmp_path):
    import ml_dtypes

    raw = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    data = hdf5_bytes({"d/vars/0": raw.view("V2")}, {"d/vars/0": {"dtype": "bfloat16"}})
    tensor = read(file(tmp_path, data)).tensors["d/vars/0"]
    assert tensor.dtype == ml_dtypes.bfloat16 and tensor.tolist() == [1.5, -2.0]
    with pytest.raises(FormatError, match="no number type"):
        read(file(tmp_path, hdf5_bytes({"d/vars/0": raw.view("V2")})))


def test_compressed_arrays_are_read_but_not_replaced(tmp_path):
    big = RNG.standard_normal((300, 40)).astype(np.float32)
    data = hdf5_bytes({"d/vars/0": big}, compression="gzip", shuffle=True, chunks=(64, 40))
    path = file(tmp_path, data)
    assert np.array_equal(read(path).tensors["d/vars/0"], big)
    write_keras(tmp_path / "same.h5", {"d/vars/0": big}, source=path)
    assert (tmp_path / "same.h5").read_bytes() == data
    with pytest.raises(FormatError, match="h5repack"):
        write_keras(tmp_path / "other.h5", {"d/vars/0": big + 1}, source=path)
    assert not (tmp_path / "other.h5").exists()


def tricks():
    def linked(link):
        import io

        buffer = io.BytesIO(hdf5_bytes({"d/vars/0": W}))
        with h5py.File(buffer, "a") as opened:
            link(opened)
        return buffer.getvalue()

    def virtual(opened):
        layout = h5py.VirtualLayout((4, 3), "f4")
        layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 3))
        opened.create_virtual_dataset("v", layout)

    def external(opened):
        opened.create_dataset("e", (4,), "u1", external=[("/etc/passwd", 0, 4)])

    def cycle(opened):
        opened["d/vars/up"] = opened["d"]

    def huge(opened):
        opened.create_dataset("h", (2**40,), "f4", chunks=(2**10,), compression="gzip")

    def big_chunks(opened):
        opened.create_dataset("h", (8,), "f4", chunks=(2**28,), maxshape=(None,))

    return {
        "soft link": (linked(lambda o: o.update(s=h5py.SoftLink("/d"))), "link"),
        "external link": (linked(lambda o: o.update(s=h5py.ExternalLink("o.h5", "/d"))), "link"),
        "virtual": (linked(virtual), "in other files"),
        "external": (linked(external), "in other files"),
        "cycle": (linked(cycle), "two names"),
        "huge": (linked(huge), "exhaust memory"),
        "big chunks": (linked(big_chunks), "chunks of"),
        "text": (hdf5_bytes({"d/vars/0": W, "t": np.array([b"ab"])}), "no number type"),
        "unwritten": (linked(lambda o: o.create_dataset("u", (9,), "f4")), "outside the file"),
        "truncated": (hdf5_bytes({"d/vars/0": W})[:-1], "damaged HDF5"),
        "missing weights": (
            hdf5_bytes({"d/x": W}, {"": {"layer_names": [b"e"]}, "e": {"weight_names": [b"k"]}}),
            "doesn't hold",
        ),
        "no weights": (
            keras_bytes({}, {}).replace(b"model.weights.h5", b"other.weights.h5"),
            "Keras file without",
        ),
    }


@pytest.mark.parametrize("name", tricks())
def test_tricks_are_refused(tmp_path, name):
    data, words = tricks()[name]
    with pytest.raises(FormatError, match=words):
        read(file(tmp_path, data))


def test_a_library_that_crashes_or_hangs_takes_only_its_own_process_down(tmp_path, monkeypatch):
    path = file(tmp_path, hdf5_bytes({"d/vars/0": W}))
    worker = tmp_path / "worker.py"
    monkeypatch.setattr(hdf5, "_WORKER", str(worker))
    worker.write_text("import os; os.abort()")
    with pytest.raises(FormatError, match="HDF5 library fail"):
        read(path)
    monkeypatch.setattr(hdf5, "_WALL_PER_CPU_SECOND", 0.2)
    worker.write_text("while True: pass")
    with pytest.raises(FormatError, match="busy without end"):
        read(path)


def test_without_h5py_the_way_to_it_is_named(tmp_path, monkeypatch):
    path = file(tmp_path, hdf5_bytes({"d/vars/0": W}))
    (tmp_path / "h5py.py").write_text("raise ImportError('no such thing')")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(FormatError, match=r"no such thing.*jgaprune\[keras\]"):
        read(path)


def test_weights_of_dense_stacks_load_as_mlp(tmp_path):
    arrays = dense_stack((7, *[6] * 11, 3), RNG)
    path = file(tmp_path, hdf5_bytes(arrays), "m.weights.h5")
    model = converters.load("auto", path)
    expected = inputs = RNG.standard_normal((5, 7)).astype(np.float32)
    for index in range(12):
        name = f"layers/dense_{index}" if index else "layers/dense"
        expected = expected @ arrays[f"{name}/vars/0"] + arrays[f"{name}/vars/1"]
        expected = np.maximum(expected, 0) if index < 11 else expected
    assert model.spec.name == "mlp"
    np.testing.assert_allclose(logits(model, inputs), expected, rtol=2e-5, atol=2e-5)


def assert_round_trip(model, path, out):
    """Unpruned weights give the same bytes; pruned ones load with zeros in their places."""
    write_keras(out, converters.to_source(model, model.params, model.buffers), source=path)
    assert out.read_bytes() == path.read_bytes()
    masks = {name: model.params[name] > 0 for name in model.spec.prunable}
    pruned = model.params | {name: model.params[name] * mask for name, mask in masks.items()}
    tensors = converters.to_source(model, pruned, model.buffers)
    write_keras(out, tensors, source=path)
    again = converters.load("auto", out)
    for name, leaf in pruned.items():
        assert np.array_equal(again.params[name], leaf), name
    untouched = set(tensors) - {tensor.name for _, tensor in model.spec.tensors}
    assert all(
        np.array_equal(read(out).tensors[name], read(path).tensors[name]) for name in untouched
    )


def functional_of_keras_2(shape=(None, 2, 2, 3)):
    def node(*names, **options):
        return [[[name, 0, 0, options] for name in names]]

    members = [
        layer("InputLayer", "in", batch_input_shape=list(shape)) | {"inbound_nodes": []},
        layer("Flatten", "flat") | {"inbound_nodes": node("in")},
        layer("Dense", "fc/1", activation="relu") | {"inbound_nodes": node("flat")},
        layer("BatchNormalization", "bn", axis=[1], epsilon=0.1)
        | {"inbound_nodes": node("fc/1", training=False)},
        layer("Add", "sum") | {"inbound_nodes": node("bn", "fc/1")},
        layer("Dropout", "drop", rate=0.5) | {"inbound_nodes": node("sum")},
        layer("Dense", "last", activation="softmax", use_bias=False)
        | {"inbound_nodes": node("drop")},
    ]
    outer = {"name": "m", "layers": members, "input_layers": [["in", 0, 0]]}
    return {"class_name": "Model", "config": outer | {"output_layers": [["last", 0, 0]]}}


def weights_of_keras_2():
    norm = {"gamma": 1.5, "beta": 0.2, "moving_mean": -0.3, "moving_variance": 2.0}
    return {
        "in": {},
        "fc/1": {
            "kernel": RNG.standard_normal((12, 5)).astype(np.float32),
            "bias": RNG.standard_normal(5).astype(np.float32),
        },
        "bn": {
            name: (value + 0.1 * np.arange(5)).astype(np.float32) for name, value in norm.items()
        },
        "last": {"kernel": RNG.standard_normal((5, 4)).astype(np.float32)},
    }


def test_a_whole_model_of_keras_2(tmp_path):
    weights = weights_of_keras_2()
    path = file(tmp_path, old_bytes(functional_of_keras_2(), weights))
    model = converters.load("auto", path)
    inputs = RNG.standard_normal((3, 2, 2, 3)).astype(np.float32)
    fc, bn = weights["fc/1"], weights["bn"]
    hidden = np.maximum(inputs.reshape(3, -1) @ fc["kernel"] + fc["bias"], 0)
    deviation = np.sqrt(bn["moving_variance"] + 0.1)
    normed = (hidden - bn["moving_mean"]) / deviation * bn["gamma"] + bn["beta"]
    expected = (hidden + normed) @ weights["last"]["kernel"]
    np.testing.assert_allclose(logits(model, inputs), expected, rtol=1e-5, atol=1e-5)
    assert model.spec.name == "keras" and model.spec.norms == ("layers.bn",)
    assert model.spec.prunable == ("layers.fc/1.kernel", "layers.last.kernel")
    assert {tensor.name for _, tensor in model.spec.tensors} == {
        f"model_weights/{name}/{name}/{weight}:0" for name in weights for weight in weights[name]
    }
    assert_round_trip(model, path, tmp_path / "back.h5")


@pytest.mark.parametrize("first", [0, 1])
def test_calls_of_inner_models_may_be_counted_from_one(tmp_path, first):
    """An inner model twice, as Keras 2 counts its calls: the call that made it is number 0."""
    inner_input = layer("InputLayer", "x", batch_input_shape=[None, 3]) | {"inbound_nodes": []}
    dense = layer("Dense", "fc", use_bias=False) | {"inbound_nodes": [[["x", 0, 0, {}]]]}
    inner = {"name": "block", "layers": [inner_input, dense]}
    inner |= {"input_layers": [["x", 0, 0]], "output_layers": [["fc", 0, 0]]}
    calls = [[["in", 0, 0, {}]], [["block", first, 0, {}]]]
    block = {"class_name": "Functional", "name": "block", "config": inner, "inbound_nodes": calls}
    outer_input = layer("InputLayer", "in", batch_input_shape=[None, 3]) | {"inbound_nodes": []}
    outer = {"name": "m", "layers": [outer_input, block], "input_layers": ["in", 0, 0]}
    config = {
        "class_name": "Functional",
        "config": outer | {"output_layers": ["block", 1 + first, 0]},
    }
    kernel = RNG.standard_normal((3, 3)).astype(np.float32)
    data = old_bytes(config, {"in": {}, "block": {"block/fc/kernel": kernel}})
    model = converters.load("auto", file(tmp_path, data))
    inputs = RNG.standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_allclose(logits(model, inputs), inputs @ kernel @ kernel, atol=1e-5)
    assert model.spec.prunable == ("layers.block/fc.kernel",)


def test_open_input_shapes_are_asked_for(tmp_path):
    config = functional_of_keras_2((None, None, None, 3))
    path = file(tmp_path, old_bytes(config, weights_of_keras_2()))
    with pytest.raises(converters.ConversionError, match=r"\[None, None, 3\].*input_shape"):
        converters.load("auto", path)
    model = converters.load("auto", path, input_shape=(2, 2, 3))
    assert model.spec.input_shape == (2, 2, 3)
    again = converters.load(model.spec.name, path, **dict(model.spec.config))
    assert again.spec == model.spec


def sequential(*layers, shape=(4,)):
    first = layer("InputLayer", "in", batch_shape=[None, *shape])
    return {"class_name": "Sequential", "config": {"name": "s", "layers": [first, *layers]}}


DENSE = {"layers/dense/vars/0": W, "layers/dense/vars/1": np.ones(3, np.float32)}


@pytest.mark.parametrize(("units", "num_outputs"), [(1, 2), (3, 3)])
def test_outputs_are_logits(tmp_path, units, num_outputs):
    """A single sigmoid becomes two classes of the same probabilities."""
    dense = layer("Dense", "dense", activation="sigmoid", use_bias=False)
    path = file(tmp_path, keras_bytes(sequential(dense), {"layers/dense/vars/0": W[:, :units]}))
    model = converters.load("keras", path)
    inputs = RNG.standard_normal((6, 4)).astype(np.float32)
    out = logits(model, inputs)
    z = inputs @ W[:, :units]
    assert out.shape == (6, num_outputs)
    expected = np.hstack([0 * z, z]) if units == 1 else z
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    if units == 1:
        second = np.asarray(jax.nn.softmax(out))[:, 1:]
        np.testing.assert_allclose(second, 1 / (1 + np.exp(-z)), rtol=1e-5)


def test_unsupported_layers_are_listed_together_and_nothing_runs(tmp_path):
    lambda_layer = layer("Lambda", "run", function=["4wEAAAA=", None, None])
    own = layer("Dense", "mine") | {"module": "my_package"}
    first = layer("Conv2D", "first", data_format="channels_first", padding="causal")
    hard = layer("Dense", "hard", activation="hard_sigmoid")
    quantised = layer("Dense", "q", dtype={"class_name": "QuantizedDTypePolicy"})
    path = file(tmp_path, keras_bytes(sequential(lambda_layer, own, first, hard, quantised), DENSE))
    with pytest.raises(converters.ConversionError) as caught:
        converters.load("auto", path)
    for words in (
        *("run (Lambda)", "mine (Dense of my_package)", "'channels_first'", "'causal'"),
        *("activation hard_sigmoid", "q (quantised)", "6 layers or settings", "from_keras"),
    ):
        assert words in str(caught.value)


def test_misfits_are_listed_together(tmp_path):
    config = sequential(layer("Dense", "a"), layer("Dense", "b"), layer("BatchNormalization", "n"))
    arrays = {"layers/dense/vars/0": W, "layers/extra/vars/0": W, "seed_generator/vars/0": W}
    arrays |= {f"layers/dense_1/vars/{i}": np.zeros((3, 2, 2), np.float32) for i in range(2)}
    path = file(tmp_path, keras_bytes(config, arrays))
    with pytest.raises(converters.ConversionError) as caught:
        converters.load("keras", path)
    for words in (
        *("a needs kernel, bias, the file has 1 arrays", "n needs gamma, beta, moving_mean"),
        *("layers/dense_1/vars/0: expected floats of 2 axes", "layers/extra/vars/0 belongs to no"),
    ):
        assert words in str(caught.value)
    assert "seed_generator" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"class_name": "Mine", "config": {}}, "describes a 'Mine'"),
        ({"config": {}}, "describes a None"),
        ({"class_name": "Sequential", "config": {"layers": [3]}}, "can't be understood"),
        (sequential(layer("Dense", "d"), shape=(5,)), "computes on inputs of shape"),
    ],
)
def test_configurations_that_make_no_network(tmp_path, config, words):
    with pytest.raises(converters.ConversionError, match=words):
        converters.load("keras", file(tmp_path, keras_bytes(config, DENSE)))


def test_calls_in_training_mode_and_with_numbers_are_refused(tmp_path):
    config = functional_of_keras_2()
    members = config["config"]["layers"]
    members[3]["inbound_nodes"] = [[["fc/1", 0, 0, {"training": True}]]]
    members[4]["inbound_nodes"] = [[["bn", 0, 0, {"y": 2.0}]]]
    path = file(tmp_path, old_bytes(config, weights_of_keras_2()))
    with pytest.raises(converters.ConversionError) as caught:
        converters.load("auto", path)
    assert "bn (called with 'training=True')" in str(caught.value)
    assert "sum (called with 'y=2.0')" in str(caught.value)


def test_weights_without_configuration_are_no_network(tmp_path):
    path = file(tmp_path, hdf5_bytes(DENSE))
    with pytest.raises(converters.ConversionError, match="holds no configuration"):
        converters.load("keras", path)
    assert converters.load("auto", path).spec.name == "mlp"
    other = file(tmp_path, hdf5_bytes({"layers/c/vars/0": np.zeros((3, 3, 3, 8), np.float32)}))
    with pytest.raises(converters.ConversionError, match=r"no configuration.*model\.save\("):
        converters.load("auto", other)


def test_to_keras_takes_the_keras_model():
    with pytest.raises(converters.ConversionError, match="expected the Keras model itself"):
        converters.to_keras(object(), {}, {})


def test_faults_of_writing_are_listed_and_leave_the_old_file(tmp_path):
    path = file(tmp_path, keras_bytes(sequential(), DENSE), "m.keras")
    before = path.read_bytes()
    wrong = {"no": W, "layers/dense/vars/0": W.T, "layers/dense/vars/1": np.ones(3)}
    with pytest.raises(FormatError) as caught:
        write_keras(path, wrong, source=path)
    for words in ("3 arrays", "no: there is no", "expected float32 [4, 3]", "got float64 [3]"):
        assert words in str(caught.value)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.keras"]
    write_keras(path, {"layers/dense/vars/0": W * 2}, source=path)
    assert np.array_equal(read(path).tensors["layers/dense/vars/0"], W * 2)
    assert read(path).metadata["config"] == json.loads(json.dumps(sequential()))
    with pytest.raises(FormatError, match="no Keras file"):
        write_keras(path, {}, source=file(tmp_path, b"text", "t.txt"))
    with pytest.raises(FormatError, match="can't be read"):
        write_keras(path, {}, source=tmp_path / "absent.h5")


def test_equal_files_share_one_program(tmp_path):
    """What is static of a network hashes by value."""
    path = file(tmp_path, keras_bytes(sequential(layer("Dense", "dense")), DENSE))
    one, two = (converters.load("auto", path) for _ in range(2))
    trees = [jax.tree.structure(m.apply) for m in (one, two)]
    assert trees[0] == trees[1] and hash(trees[0]) == hash(trees[1])


@pytest.mark.parametrize(
    ("version", "backend", "words"),
    [
        (None, None, r"pip install 'jgaprune\[keras\]'"),
        ("2.15.0", None, r"this is 2\.15\.0"),
        ("3.8.0", "torch", "computes with 'torch'.*KERAS_BACKEND=jax"),
    ],
)
def test_kerases_that_do_not_compute_with_jax_are_refused(monkeypatch, version, backend, words):
    fake = types.ModuleType("keras")
    fake.__dict__.update(__version__=version, config=types.SimpleNamespace(backend=lambda: backend))
    monkeypatch.setitem(sys.modules, "keras", fake if version else None)
    with pytest.raises(converters.ConversionError, match=words):
        converters.from_keras(None)
