"""What is done to the remaining weights and statistics after masking, without data."""

from jgaprune.repair.batch_norm import Bounds, batch_norm_delta, beside_dense
from jgaprune.repair.reconstruct import reconstruct

__all__ = ["Bounds", "batch_norm_delta", "beside_dense", "reconstruct"]
