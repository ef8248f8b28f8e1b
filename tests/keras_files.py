"""Files as Keras writes them, written without Keras: for tests where only h5py is installed."""

import io
import json
import zipfile

import numpy as np


def hdf5_bytes(arrays, attributes=None, **options):
    """An HDF5 file of arrays by path; `attributes` by path of the group or array."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, **(options if np.ndim(array) else {}))
        for path, values in (attributes or {}).items():
            item = file.require_group(path) if path and path not in file else file[path or "/"]
            item.attrs.update(values)
    return buffer.getvalue()


def keras_bytes(config, arrays):
    """A `.keras` file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", hdf5_bytes(arrays))
    return buffer.getvalue()


def old_bytes(config, layers):
    """A whole model as Keras 2 wrote it; `layers`: `{layer: {weight: array}}`."""
    arrays, attributes = {}, {"": {"model_config": json.dumps(config), "keras_version": b"2.15.0"}}
    attributes["model_weights"] = {"layer_names": [name.encode() for name in layers]}
    for layer, weights in layers.items():
        names = [f"{layer}/{weight}:0" for weight in weights]
        attributes[f"model_weights/{layer}"] = {"weight_names": [n.encode() for n in names]}
        for name, array in zip(names, weights.values(), strict=True):
            arrays[f"model_weights/{layer}/{name}"] = array
    arrays["optimizer_weights/adam/iteration:0"] = np.int64(3)
    return hdf5_bytes(arrays, attributes)


def layer(class_name, name, **config):
    return {"class_name": class_name, "name": name, "config": {"name": name, **config}}


def dense_stack(widths, rng, scale=0.5):
    """Weights of dense layers as a `.weights.h5` holds them, and with an optimizer's state."""
    arrays = {"optimizer/vars/0": np.int64(7), "optimizer/vars/1": np.float32(1e-3)}
    for index, (num_in, num_out) in enumerate(zip(widths, widths[1:], strict=False)):
        name = f"layers/dense_{index}" if index else "layers/dense"
        kernel = rng.standard_normal((num_in, num_out)) * scale
        arrays[f"{name}/vars/0"] = kernel.astype(np.float32)
        arrays[f"{name}/vars/1"] = rng.standard_normal(num_out).astype(np.float32)
    return arrays
