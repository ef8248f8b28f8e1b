"""What is done to the remaining weights and statistics after masking, without data."""

from jgaprune.repair.batch_norm import Bounds, batch_norm_delta, dense_and_delta
from jgaprune.repair.reconstruct import reconstruct

__all__ = ["Bounds", "batch_norm_delta", "dense_and_delta", "reconstruct"]
