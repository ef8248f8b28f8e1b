"""Distillation: the kept weights of a pruned network, trained to imitate the dense one.

No labels and no data are needed beyond unlabelled or synthesised inputs. Hinton et al.,
"Distilling the knowledge in a neural network", 2015; on inputs synthesised from the network's
own statistics: Yin et al., "Dreaming to distill", CVPR 2020.
"""

import jax.numpy as jnp
from jax.tree_util import Partial

from jgaprune.masks import apply_masks
from jgaprune.training.descent import (
    USUAL,
    Groups,
    Loss,
    OnStep,
    Training,
    Vary,
    descend,
    relative_rates,
)
from jgaprune.types import Array, Key, Masks, Params


def distil(
    loss: Loss,
    params: Params,
    masks: Masks,
    inputs: Array,
    key: Key,
    *,
    settings: Training = USUAL,
    vary: Vary | None = None,
    on_step: OnStep | None = None,
) -> Params:
    """Trains all parameters that are no removed weights.

    Args:
      loss: of masked parameters on a batch, such as `imitation(model)`.
      params: to start from, such as what `repair.reconstruct` made.
      masks: what is kept.
      inputs: model inputs `[N, ...]` that batches are drawn from.
      key: of the batches.
      settings: steps, batch and `weight_rate`.
      vary: applied to every batch.
      on_step: called before every step; what it raises ends the training.

    Returns:
      Parameters in which removed weights are zero.
    """
    trained, fixed = split_trainable(params)
    groups = descend(
        Partial(_loss, loss, fixed, masks),
        {"weights": trained},
        inputs,
        key,
        rates={"weights": relative_rates(apply_masks(trained, masks), settings)},
        settings=settings,
        vary=vary,
        on_step=on_step,
    )
    return apply_masks({**fixed, **groups["weights"]}, masks)


def split_trainable(params: Params) -> tuple[Params, Params]:
    """Leaves that have a gradient, and the others."""
    trained = {
        name: leaf for name, leaf in params.items() if jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    return trained, {name: leaf for name, leaf in params.items() if name not in trained}


def _loss(loss: Loss, fixed: Params, masks: Masks, groups: Groups, batch: Array) -> Array:
    return loss(apply_masks({**fixed, **groups["weights"]}, masks), batch)
