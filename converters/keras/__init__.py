"""Keras models: networks from the configuration in a file, and models in memory.

Only `from_keras` imports Keras, and only when it is called.
"""
