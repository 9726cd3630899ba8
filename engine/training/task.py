"""What the training loop trains: the interface of a task, and the tasks there are."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stpn.engine.training.data import DataFolders
from stpn.engine.training.recipe import Recipe, RecipeError, Stage

Batch: TypeAlias = dict[str, Tensor]

# "module:function"; the function is given (recipe: Recipe, data: DataFolders) and returns the task. It reads its
# options of every stage first, so that a mistake is told at once, and then loads what it needs of the data.
TASKS = {
    "color": "stpn.engine.training.color_task:make",
    "aligned": "stpn.engine.training.aligned_task:make",
    "hdr": "stpn.engine.training.hdr_task:make",
    "hdr_pairs": "stpn.engine.training.hdr_pairs_task:make",
    "mask": "stpn.engine.training.mask_task:make",
    "mask_seg": "stpn.engine.training.mask_seg_task:make",
}


class Task(Protocol):
    """What is trained, on what, and how good it is.

    Attributes:
        network: what is trained, on the CPU and fully initialised.
    """

    network: nn.Module

    def batch(self, stage: Stage, step: int) -> Batch:
        """The material of a step, on the CPU.

        It follows from the recipe's seed and the step alone, whatever was drawn before and on whichever thread.

        Args:
            stage: the stage that the step lies in.
            step: counted from 0 over all stages.
        """

    def loss(self, network: nn.Module, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
        """What is minimised, a scalar, and named numbers for the curves.

        Args:
            network: `self.network` in training, where the batch is; called under autocast where the recipe says bf16.
            batch: of `batch`, on the network's device.
            stage: the stage that the batch was drawn for.
        """

    def picture(self, network: nn.Module, batch: Batch) -> NDArray[np.uint8]:
        """A sheet of samples for people, (H, W, 3) uint8 RGB; called without gradients, in evaluation mode."""

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """Writes the network with this metadata and whatever is needed to load it, as safetensors."""


def make_task(recipe: Recipe, data: DataFolders, start: Path | None = None) -> Task:
    """The recipe's task, its network initialised from the recipe's seed or from the weights `start`.

    Raises:
        RecipeError: there is no such task, an option of it is wrong, or the start weights do not fit.
        DataError: the material cannot be used.
    """
    if recipe.task not in TASKS:
        raise RecipeError(f"{recipe.origin}: task: expected one of {', '.join(TASKS)}, got {recipe.task!r}")
    module, function = TASKS[recipe.task].split(":")
    torch.manual_seed(recipe.seed)
    task: Task = getattr(import_module(module), function)(recipe, data)
    if start is not None:
        _load(task.network, start, recipe.origin)
    return task


def _load(network: nn.Module, start: Path, origin: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network.load_state_dict(load_file(start))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"{origin}: start: expected weights of the same sizes in {start}, got: {reason}") from error
