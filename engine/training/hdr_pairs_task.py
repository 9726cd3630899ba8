"""The task `hdr_pairs`: the paper's network for HDR, from pairs of views of panoramas ("im") and of frames ("vd")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stpn.engine.network import NetworkConfig, SwitchableTPN, switchable_loss
from stpn.engine.properties.hdr import UNIT
from stpn.engine.properties.response import EPSILON
from stpn.engine.training.color_task import log_error
from stpn.engine.training.data import DataFolders
from stpn.engine.training.hdr_episodes import HdrEpisodes
from stpn.engine.training.hdr_task import HdrOptions, load_shots, shown_darker
from stpn.engine.training.pairs import random_centre, similarity
from stpn.engine.training.recipe import Recipe, RecipeError, Stage
from stpn.engine.training.task import Batch
from stpn.engine.weights import save_network

_ROWS = 4


@dataclass(frozen=True)
class PairOptions(HdrOptions):
    """Options of a stage; `shots` and `targets` as for the task `hdr`.

    Attributes:
        pairs: two views of one frame by similarity transforms, or two frames of a shot.
        switch_weight: lambda of equation (8); 0 is the basic network.
    """

    pairs: Literal["views", "frames"] = "frames"
    switch_weight: float = 0.1


def make(recipe: Recipe, data: DataFolders) -> HdrPairsTask:
    """The task of a recipe; shots that the cache lacks are made first.

    Raises:
        RecipeError: a size or an option is unknown, of another type or out of range.
        DataError: no panoramas.
    """
    options = {stage.name: stage.read_options(PairOptions) for stage in recipe.stages}
    config = recipe.read_network(NetworkConfig)
    if (config.property_channels, config.guide_channels) != (3, 3):
        got = f"{config.property_channels} and {config.guide_channels}"
        raise RecipeError(f"{recipe.origin}: network: expected property_channels 3 and guide_channels 3, got {got}")
    shots = {name: load_shots(recipe, data, chosen) for name, chosen in options.items()}
    return HdrPairsTask(recipe.seed, SwitchableTPN(config), options, shots)


class HdrPairsTask:
    """Carries ln(H + 0.01) / 2 under the guidance of what the plate shows of it; batches hold key_property,
    target_property, key_guide and target_guide, (B, 3, S, S) each."""

    def __init__(
        self,
        seed: int,
        network: SwitchableTPN,
        options: Mapping[str, PairOptions],
        shots: Mapping[str, list[HdrEpisodes]],
    ) -> None:
        self.seed, self.options, self.shots = seed, options, shots
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: nn.Module = network

    def batch(self, stage: Stage, step: int) -> Batch:
        """Sample i follows from (seed, step, i)."""
        shots, pairs = self.shots[stage.name], self.options[stage.name].pairs
        drawn = [
            _pair(shots, np.random.default_rng([self.seed, step, i]), stage.crop, pairs) for i in range(stage.batch)
        ]
        planes = torch.from_numpy(np.stack(drawn)).permute(1, 0, 4, 2, 3)
        return {
            "key_property": planes[0, :, :3],
            "target_property": planes[1, :, :3],
            "key_guide": planes[0, :, 3:],
            "target_guide": planes[1, :, 3:],
        }

    def loss(self, network: nn.Module, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
        """Equation (8), and its two terms: there (key to target) and back."""
        assert isinstance(network, SwitchableTPN)
        weight = self.options[stage.name].switch_weight
        loss, there, back = switchable_loss(network, **batch, weight=weight, error=log_error)
        return loss, {"there": there.item()} | ({} if back is None else {"back": back.item()})

    def picture(self, network: nn.Module, batch: Batch) -> NDArray[np.uint8]:
        """A row a sample: key, plate, result, truth; three stops darker than the plate."""
        rows = {name: value[:_ROWS] for name, value in batch.items()}
        result = network(rows["key_property"], rows["key_guide"], rows["target_guide"])
        planes = (rows["key_property"], rows["target_guide"], result, rows["target_property"])
        return np.concatenate([np.concatenate(list(shown_darker(plane)), axis=0) for plane in planes], axis=1)

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """As `weights.load_network` reads it."""
        assert isinstance(network, SwitchableTPN)
        save_network(path, network, metadata)


def _pair(shots: list[HdrEpisodes], rng: np.random.Generator, size: int, pairs: str) -> NDArray[np.float32]:
    """Two crops (2, size, size, 6): the property and what the plate shows of it."""
    shot = shots[rng.integers(len(shots))]
    first, second = rng.choice(len(shot.frames), 2, replace=False)
    if pairs == "views":
        second = first
    centre = random_centre(shot.ldr.shape[1:3], size, rng)
    order = rng.permutation(3)
    # the logarithm's unit is where the plate clips, so exposures differ as they do between plates
    matrices = [similarity(shot.ldr.shape[1:3], centre, size, rng) for _ in range(2 if pairs == "views" else 1)]
    out = []
    for frame, matrix in zip((first, second), (matrices[0], matrices[-1]), strict=True):
        light = np.concatenate([shot.scene[frame][..., order], shot.shown[frame][..., order]], axis=2)
        log = np.log(light.astype(np.float32) + EPSILON) / np.float32(UNIT)
        planes = [
            cv2.warpAffine(log[..., c], matrix, (size, size), borderMode=cv2.BORDER_REFLECT_101) for c in range(6)
        ]
        out.append(np.stack(planes, axis=2))
    return np.asarray(np.stack(out), np.float32)
