"""The optimizer of a recipe, and its learning rate over the steps."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from stpn.engine.training.recipe import OptimizerChoice


def make_optimizer(parameters: Iterable[nn.Parameter], choice: OptimizerChoice) -> torch.optim.Optimizer:
    """The optimizer that the recipe names."""
    if choice.name == "sgd":
        return torch.optim.SGD(
            parameters, lr=choice.learning_rate, momentum=choice.momentum, weight_decay=choice.weight_decay
        )
    return torch.optim.AdamW(parameters, lr=choice.learning_rate, weight_decay=choice.weight_decay)


def learning_rate(choice: OptimizerChoice, step: int, steps: int) -> float:
    """The learning rate of a step, counted from 0: the lower of the warm-up and the schedule over all steps."""
    done = step / steps
    fall = {"cosine": 0.5 + 0.5 * math.cos(math.pi * done), "linear": 1 - done, "constant": 1.0}[choice.schedule]
    warm = (step + 1) / choice.warm_up if choice.warm_up else 1.0
    return choice.learning_rate * min(warm, fall)


def average_weight(decay: float, step: int) -> float:
    """How much of the moving average stays at a step: less at the start, where the weights still move far."""
    return min(decay, (1 + step) / (10 + step))
