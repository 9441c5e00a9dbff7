"""The optimizer of a suffix, with a learning rate for every block."""

import torch

from mammo.network.strategies import Suffix


def block_scales(suffix: Suffix, layer_decay: float) -> dict[str, float]:
    """Scale the learning rate by block: 1 for the head, `layer_decay` less with each block below.

    Early features are general and need less change than late ones.

    Source: Howard & Ruder 2018, arXiv:1801.06146, section 3.2 (discriminative fine-tuning, there
    with a factor of 1 / 2.6 a layer).
    """
    names = [*suffix.blocks, "head"]
    return {name: layer_decay ** (len(names) - 1 - n) for n, name in enumerate(names)}


def make_optimizer(
    suffix: Suffix, lr: float, weight_decay: float, layer_decay: float
) -> torch.optim.Optimizer:
    """Make AdamW over the whole suffix, by block; `scale` is a group's factor of the rate.

    All parameters are there from the start: an optimizer made while the blocks are held would
    never train them after their release. What has no gradient is left alone, decay included.

    Source: Loshchilov & Hutter 2019, arXiv:1711.05101 (AdamW).
    """
    parts = {**suffix.blocks, "head": suffix.head}
    groups = []
    for name, scale in block_scales(suffix, layer_decay).items():
        # Decay draws weights to 0, which is no better a place for a bias, a scale or a threshold.
        matrices = [p for p in parts[name].parameters() if p.ndim > 1]
        others = [p for p in parts[name].parameters() if p.ndim <= 1]
        if matrices:
            groups.append({"params": matrices, "scale": scale})
        if others:
            groups.append({"params": others, "scale": scale, "weight_decay": 0.0})
    # fused: one pass over the parameters, half the time of the default on a processor
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the head's learning rate, and each block's by its scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
