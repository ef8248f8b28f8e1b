"""The networks that can be loaded: Flax NNX, channels last, with PyTorch's attribute names.

One architecture family per file; `jgaprune.converters.catalog` lists them.
"""
