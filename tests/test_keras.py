"""Converted Keras models against Keras itself, with its JAX backend, layer by layer and whole."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "jax")
pytest.importorskip("h5py", reason="Keras writes its files with h5py")
pytest.importorskip("keras", reason="compares with Keras; needs the extra 'keras'")

from jgaprune import converters  # noqa: E402
from jgaprune.converters.formats import read, write_keras  # noqa: E402
from jgaprune.converters.keras.backend import keras_on_jax  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore")]
KINDS = ["m.keras", "m.h5"]


@pytest.fixture(scope="module")
def keras():
    return keras_on_jax()


def randomised(model, seed=0):
    """Every weight drawn anew, statistics and scales of norms too."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name == "count":
            continue
        drawn = rng.standard_normal(variable.shape)
        positive = variable.name in ("moving_variance", "variance", "gamma")
        fan_in = max(np.prod(variable.shape[:-1]), 1)
        variable.assign(0.5 + np.abs(drawn) if positive else drawn / np.sqrt(fan_in))
    return model


def inputs_of(model, count=5):
    shape = (count, *model.inputs[0].shape[1:])
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def logits(model, inputs, params=None):
    return np.asarray(jax.jit(model.apply)(params or model.params, model.buffers, inputs))


def assert_close(got, expected, tolerance=2e-6):
    assert np.max(np.abs(expected)) > 0.1 and np.ptp(expected, axis=0).max() > 1e-3
    assert np.max(np.abs(got - expected)) <= tolerance * np.max(np.abs(expected))
    assert np.array_equal(got.argmax(-1), expected.argmax(-1))


def layers_to_compare(layers):
    conv, depthwise, separable = layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D
    return {
        "conv same 2": conv(4, 3, strides=2, padding="same"),
        "conv valid 2": conv(4, (3, 2), strides=(2, 1), use_bias=False),
        "conv groups": conv(6, 3, groups=3, padding="same", activation="relu6"),
        "conv dilated": conv(4, 2, dilation_rate=2, padding="same"),
        "depthwise": depthwise(3, strides=2, padding="same", depth_multiplier=2),
        "separable": separable(5, 3, depth_multiplier=2, strides=2, padding="same"),
        "batch norm": layers.BatchNormalization(epsilon=0.02),
        "batch norm plain": layers.BatchNormalization(scale=False, center=False),
        "layer norm": layers.LayerNormalization(),
        "rescaling": layers.Rescaling(0.5, offset=-1.0),
        "relu": layers.ReLU(max_value=1.0, negative_slope=0.1, threshold=0.2),
        "leaky relu": layers.LeakyReLU(),
        "leaky": layers.Activation("leaky_relu"),
        "gelu": layers.Activation("gelu"),
        "silu": layers.Activation("swish"),
        "elu": layers.Activation("elu"),
        "selu": layers.Activation("selu"),
        "mish": layers.Activation("mish"),
        "soft": layers.Activation("softsign"),
        "softmax": layers.Softmax(),
        "max pool same": layers.MaxPooling2D(3, strides=2, padding="same"),
        "average pool same": layers.AveragePooling2D(3, strides=2, padding="same"),
        "average pool": layers.AveragePooling2D(2),
        "padding": layers.ZeroPadding2D(((0, 1), (2, 3))),
        "reshape": layers.Reshape((5, -1, 3)),
        "dropout": layers.Dropout(0.5),
        "spatial dropout": layers.SpatialDropout2D(0.5),
        "noise": layers.GaussianNoise(1.0),
        "flip": layers.RandomFlip(),
        "global average": layers.GlobalAveragePooling2D(keepdims=True),
        "global max": layers.GlobalMaxPooling2D(keepdims=True),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer(keras, tmp_path, kind):
    for name, layer in layers_to_compare(keras.layers).items():
        first = keras.layers.Conv2D(6, 1, padding="same")
        last = [keras.layers.Flatten(), keras.layers.Dense(3)]
        before = [] if name == "reshape" else [first]
        model = keras.Sequential([keras.Input((7, 10, 3)), *before, layer, *last])
        randomised(model).save(tmp_path / kind)
        converted = converters.load("auto", tmp_path / kind)
        inputs = inputs_of(model)
        try:
            assert_close(logits(converted, inputs), model.predict(inputs, verbose=0))
        except AssertionError as error:
            raise AssertionError(name) from error


def residual(keras, end="softmax"):
    layers = keras.layers
    inner_in = keras.Input((None, None, 4))
    inner = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(inner_in)
    inner = layers.BatchNormalization()(inner)
    inner = keras.Model(inner_in, layers.ReLU(6.0)(inner), name="block")
    inputs = keras.Input((9, 12, 3), name="image")
    shared = layers.Conv2D(4, 1, name="twice")
    x = layers.Conv2D(4, 3, strides=2, padding="same")(inputs)
    y = inner(shared(x))
    z = layers.Concatenate()([layers.Add()([x, y]), shared(y), layers.Multiply()([x, y])])
    tail = keras.Sequential([layers.Conv2D(6, 2), layers.BatchNormalization()], name="tail")
    z = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(tail(z)))
    z = layers.Dense(5, activation=end)(z)
    return randomised(keras.Model(inputs, z))


@pytest.mark.parametrize("kind", KINDS)
def test_functional_models_and_masks(keras, tmp_path, kind):
    model, plain = residual(keras), residual(keras, "linear")
    model.save(tmp_path / kind)
    converted = converters.load("auto", tmp_path / kind)
    check_with_masks(converted, plain, inputs_of(plain))


def check_with_masks(converted, plain, inputs):
    """A vmap over three mask sets equals Keras with each of them."""
    assert_close(logits(converted, inputs), plain.predict(inputs, verbose=0))
    rng = np.random.default_rng(2)
    masks = {
        name: rng.random((3, *converted.params[name].shape)) < 0.6
        for name in converted.spec.prunable
    }

    def masked(masks):
        params = {
            name: leaf * masks[name] if name in masks else leaf
            for name, leaf in converted.params.items()
        }
        return converted.apply(params, converted.buffers, inputs)

    outs = np.asarray(jax.jit(jax.vmap(masked))({n: jnp.asarray(m) for n, m in masks.items()}))
    dense = plain.get_weights()
    kernels = [index for index, v in enumerate(plain.weights) if v.name.endswith("kernel")]
    assert len(kernels) == len(masks)
    by_shape = {}
    for name in masks:
        by_shape.setdefault(np.asarray(converted.params[name]).tobytes(), name)
    for member in range(3):
        weights = list(dense)
        for index in kernels:
            name = by_shape[weights[index].tobytes()]
            weights[index] = weights[index] * masks[name][member].reshape(weights[index].shape)
        plain.set_weights(weights)
        assert_close(outs[member], plain.predict(inputs, verbose=0), 5e-6)
    plain.set_weights(dense)


@pytest.mark.parametrize("kind", [*KINDS, "m.weights.h5"])
def test_the_way_back_loads_in_keras(keras, tmp_path, kind):
    layers = keras.layers
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5, activation="relu")])
    model.add(layers.Dense(4, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(np.ones((8, 6)), np.arange(8) % 4, verbose=0)
    path = tmp_path / kind
    save = model.save_weights if kind == "m.weights.h5" else model.save
    save(path)
    converted = converters.load("auto", path)
    tensors = converters.to_source(converted, converted.params, converted.buffers)
    write_keras(tmp_path / f"same_{kind}", tensors, source=path)
    assert (tmp_path / f"same_{kind}").read_bytes() == path.read_bytes()
    pruned = {name: jnp.where(leaf > 0, leaf, 0) for name, leaf in converted.params.items()}
    out = tmp_path / f"out_{kind}"
    write_keras(out, converters.to_source(converted, pruned, converted.buffers), source=path)
    if kind == "m.weights.h5":
        again = model
        again.load_weights(out)
    else:
        again = keras.models.load_model(out)
        original = keras.models.load_model(path)
        states = [[np.asarray(v) for v in m.optimizer.variables] for m in (again, original)]
        assert len(states[0]) >= 2
        assert all(np.array_equal(a, b) for a, b in zip(*states, strict=True))
    inputs = inputs_of(model)
    assert sum((w == 0).sum() for w in again.get_weights()) > 10
    out = np.asarray(jax.nn.softmax(logits(converted, inputs, pruned)))
    assert_close(out, again.predict(inputs, verbose=0))


def test_adapted_normalization(keras, tmp_path):
    norm = keras.layers.Normalization()
    norm.adapt(np.random.default_rng(0).normal(7, 3, (50, 4)).astype(np.float32))
    model = keras.Sequential([keras.Input((4,)), norm, keras.layers.Dense(3)])
    model.save(tmp_path / "m.keras")
    converted = converters.load("auto", tmp_path / "m.keras")
    assert_close(logits(converted, inputs_of(model)), model.predict(inputs_of(model), verbose=0))
    assert converted.spec.preprocessing.scale == 1.0


def subclassed(keras, end="linear"):
    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.conv = keras.layers.Conv2D(4, 3, padding="same")
            self.bn = keras.layers.BatchNormalization()
            self.drop = keras.layers.Dropout(0.5)
            self.head = keras.layers.Dense(3, activation=end)

        def call(self, x):
            x = self.drop(keras.ops.relu(self.bn(self.conv(x))))
            return self.head(keras.ops.mean(x, axis=(1, 2)))

    model = Net()
    model(np.zeros((1, 6, 8, 3), np.float32))
    return randomised(model)


def test_models_in_memory(keras):
    model, plain = residual(keras), residual(keras, "linear")
    converted = converters.from_keras(model)
    check_with_masks(converted, plain, inputs_of(plain))
    assert all("call" not in vars(layer) for layer in model._flatten_layers())
    assert model.layers[-1].activation is keras.activations.softmax
    assert len(converted.spec.norms) == 2
    back = converters.to_keras(model, converted.params, converted.buffers)
    assert all(np.array_equal(a, b) for a, b in zip(back, model.get_weights(), strict=True))
    assert {name.rpartition(".")[2] for name in converted.buffers} == {"mean", "var"}


def test_frozen_layers_can_be_pruned(keras):
    model = residual(keras)
    before = converters.from_keras(model)
    model.trainable = False
    after = converters.from_keras(model)
    assert after.spec.prunable == before.spec.prunable
    inputs = inputs_of(model)
    assert np.array_equal(logits(after, inputs), logits(before, inputs))


def test_subclassed_models_and_probabilities(keras):
    inputs = np.random.default_rng(1).standard_normal((5, 6, 8, 3)).astype(np.float32)
    converted = converters.from_keras(subclassed(keras), input_shape=(6, 8, 3))
    assert_close(logits(converted, inputs), subclassed(keras).predict(inputs, verbose=0))
    ends = subclassed(keras, "softmax")
    out = logits(converters.from_keras(ends, input_shape=(6, 8, 3)), inputs)
    assert_close(np.asarray(jax.nn.softmax(out)), ends.predict(inputs, verbose=0))
    raw = converters.from_keras(ends, input_shape=(6, 8, 3), from_logits=True)
    assert_close(logits(raw, inputs), ends.predict(inputs, verbose=0))
    with pytest.raises(converters.ConversionError, match="shape of one input"):
        converters.from_keras(ends)


def test_statistics_are_seen_and_chosen(keras):
    model = subclassed(keras)
    converted = converters.from_keras(model, input_shape=(6, 8, 3))
    inputs = np.random.default_rng(1).standard_normal((5, 6, 8, 3)).astype(np.float32)

    def observe(rule):
        return jax.jit(lambda p, b, x: converted.observe(p, b, x, rule))(
            converted.params, converted.buffers, inputs
        )

    kept, records = observe(lambda name, batch, stored: stored)
    np.testing.assert_allclose(kept, logits(converted, inputs), atol=1e-6)
    (name,) = converted.spec.norms
    seen = np.asarray(model.conv(inputs))
    np.testing.assert_allclose(records[name].batch.mean, seen.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(records[name].used.var, model.bn.moving_variance, atol=1e-6)
    renewed, _ = observe(lambda name, batch, stored: batch)
    model.bn.moving_mean.assign(seen.mean((0, 1, 2)))
    model.bn.moving_variance.assign(seen.var((0, 1, 2)))
    np.testing.assert_allclose(renewed, model.predict(inputs, verbose=0), atol=2e-6)


def test_a_single_sigmoid_becomes_two_classes(keras):
    layers = [keras.Input((4,)), keras.layers.Dense(1), keras.layers.Activation("sigmoid")]
    model = randomised(keras.Sequential(layers))
    inputs = inputs_of(model)
    out = jax.nn.softmax(logits(converters.from_keras(model), inputs))
    np.testing.assert_allclose(out[:, 1:], model.predict(inputs, verbose=0), atol=1e-6)


def test_models_that_cannot_be_taken(keras):
    layers = keras.layers

    class Trains(keras.Model):
        def __init__(self):
            super().__init__()
            self.drop, self.head = layers.Dropout(0.5), layers.Dense(2)

        def call(self, x):
            return self.head(self.drop(x, training=True))

    trains = Trains()
    with pytest.raises(converters.ConversionError, match="no weights yet"):
        converters.from_keras(trains, input_shape=(4,))
    trains(np.zeros((1, 4)))
    with pytest.raises(converters.ConversionError, match="seed_generator.*training=True"):
        converters.from_keras(trains, input_shape=(4,))
    one, two = keras.Input((3,)), keras.Input((3,))
    both = keras.Model([one, two], layers.Dense(2)(layers.Add()([one, two])))
    with pytest.raises(converters.ConversionError, match="2 inputs"):
        converters.from_keras(both)
    with pytest.raises(converters.ConversionError, match=r"keras\.Model, got dict"):
        converters.from_keras({})
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    with pytest.raises(converters.ConversionError, match="expected .3, 2., got nothing"):
        converters.to_keras(model, {}, {})


def test_compiled_state_stays_out_of_the_network(keras, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    model.fit(np.zeros((4, 4)), np.zeros((4, 3)), verbose=0)
    model.save(tmp_path / "m.keras")
    names = set(read(tmp_path / "m.keras").tensors)
    used = {tensor.name for _, tensor in converters.load("auto", tmp_path / "m.keras").spec.tensors}
    assert used == {"layers/dense/vars/0", "layers/dense/vars/1"}
    assert any(name.startswith("optimizer") for name in names - used)


def test_a_last_activation_that_is_used_elsewhere_is_refused(keras):
    shared = keras.layers.Activation("sigmoid", name="shared")
    inputs = keras.Input((6,))
    hidden = shared(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, shared(keras.layers.Dense(3)(hidden)))
    with pytest.raises(converters.ConversionError, match="'shared'.*another place"):
        converters.from_keras(model)
