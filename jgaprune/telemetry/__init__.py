"""Logs of a run beside its folder: TensorBoard, Weights & Biases, MLflow, or a service of your own.

A log is given to `prune` as `on_record`, alone or among others. Each needs an extra, and imports it
when it is made.
"""

from jgaprune.telemetry.log import Log
from jgaprune.telemetry.mlflow import mlflow
from jgaprune.telemetry.tensorboard import tensorboard
from jgaprune.telemetry.wandb import wandb
from jgaprune.telemetry.writer import Row, Writer

__all__ = ["Log", "Row", "Writer", "mlflow", "tensorboard", "wandb"]
