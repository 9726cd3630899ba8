"""The task `hdr`: the network of `--method aligned` for HDR, from shots in panoramas."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.observation import collate, inputs
from stpn.engine.properties.hdr import UNIT
from stpn.engine.training.data import DataFolders
from stpn.engine.training.hdr_data import draw_hdr, hdr_chances
from stpn.engine.training.hdr_episodes import HdrEpisodes, build_hdr_episodes, load_hdr_episodes
from stpn.engine.training.hdr_loss import hdr_loss
from stpn.engine.training.hdr_shots import SIZE
from stpn.engine.training.recipe import Recipe, RecipeError, Stage
from stpn.engine.training.task import Batch
from stpn.engine.weights import save_network

_ROWS = 4


@dataclass(frozen=True)
class HdrOptions:
    """Options of a stage.

    Attributes:
        shots: drawn in the panoramas, in turns.
        targets: frames between the two keys of a shot.
    """

    shots: int = 240
    targets: int = 4


def make(recipe: Recipe, data: DataFolders) -> HdrTask:
    """The task of a recipe; shots that the cache lacks are made first, some seconds each.

    Raises:
        RecipeError: a size or an option is unknown, of another type or out of range.
        DataError: no panoramas.
    """
    options = {stage.name: stage.read_options(HdrOptions) for stage in recipe.stages}
    for stage in recipe.stages:
        if stage.crop % 16 or stage.crop > min(SIZE):
            raise RecipeError(f"{stage.origin}: crop: expected a multiple of 16 up to {min(SIZE)}, got {stage.crop}")
    config = recipe.read_network(AlignedConfig)
    if (config.channels, config.unit, config.observed) != (3, UNIT, True):
        raise RecipeError(f"{recipe.origin}: network: expected channels 3, unit {UNIT} and observed true")
    drawn = {name: load_shots(recipe, data, chosen) for name, chosen in options.items()}
    return HdrTask(recipe.seed, AlignedFusion(config), drawn)


class HdrTask:
    """Fuses, matches and fills in; batches hold the planes of `Inputs`, `truth` and `lost` (B, 3, S, S)."""

    def __init__(self, seed: int, network: AlignedFusion, material: Mapping[str, list[HdrEpisodes]]) -> None:
        """Args: material: the shots of each stage."""
        self.seed, self.material = seed, material
        self.chances = {name: hdr_chances(shots) for name, shots in material.items()}
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: nn.Module = network

    def batch(self, stage: Stage, step: int) -> Batch:
        """Sample i follows from (seed, step, i)."""
        shots, chances = self.material[stage.name], self.chances[stage.name]
        rngs = [np.random.default_rng([self.seed, step, i]) for i in range(stage.batch)]
        return collate([draw_hdr(shots, chances, rng, stage.crop) for rng in rngs])

    def loss(self, network: nn.Module, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
        """See `hdr_loss`."""
        seen = inputs(batch)
        return hdr_loss(seen, network(seen), batch["truth"], batch["lost"])

    def picture(self, network: nn.Module, batch: Batch) -> NDArray[np.uint8]:
        """A row a sample, three stops darker than the plate: plate, without learning, result, truth, how sure it is."""
        rows = inputs({name: value[:_ROWS] for name, value in batch.items()})
        out = network(rows)
        sure = torch.sigmoid(-out.unsure).repeat_interleave(2, 2).repeat_interleave(2, 3)
        assert rows.shown is not None
        lost = batch["lost"][:_ROWS]
        planes = [rows.shown, *(_joined(rows.shown, one, lost) for one in (rows.by_hand, out.values)), batch["truth"]]
        columns = [shown_darker(plane[:_ROWS]) for plane in planes]
        grey = np.rint(255 * sure[:, 0].cpu().numpy()).astype(np.uint8)
        columns.append(np.repeat(grey[..., None], 3, axis=3))
        return np.concatenate([np.concatenate(list(column), axis=0) for column in columns], axis=1)

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """As `weights.load_aligned` reads it."""
        assert isinstance(network, AlignedFusion)
        save_network(path, network, metadata)


def load_shots(recipe: Recipe, data: DataFolders, options: HdrOptions) -> list[HdrEpisodes]:
    """The shots of a stage, made where the cache lacks them; shot i follows from (seed, i).

    Raises:
        RecipeError: none are asked for.
        DataError: no panoramas.
    """
    if min(options.shots, options.targets) < 1:
        raise RecipeError(f"{recipe.origin}: options: shots, targets: expected 1 or more of each")
    seed = recipe.seed
    folder = data.cache / "hdr" / f"targets{options.targets}-seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:04d}" for index in range(options.shots)]
    missing = [index for index, path in enumerate(paths) if not path.exists()]
    if missing:
        light = data.load_light()
        processes = min(len(missing), len(os.sched_getaffinity(0)))
        with ProcessPoolExecutor(processes, get_context("fork")) as pool:
            jobs = [pool.submit(_build, light, i % len(light), options.targets, [seed, i], paths[i]) for i in missing]
            for job in jobs:
                job.result()
    return [load_hdr_episodes(path) for path in paths]


def _build(light: list[NDArray[np.float32]], index: int, targets: int, seed: list[int], path: Path) -> None:
    cv2.setNumThreads(1)
    build_hdr_episodes(light, index, targets, seed, path)


def _joined(shown: Tensor, carried: Tensor, lost: Tensor) -> Tensor:
    return (1 - lost) * shown + lost * torch.maximum(carried, shown)


def shown_darker(log: Tensor) -> NDArray[np.uint8]:
    """(B, H, W, 3) uint8 of ln(H + 0.01) / 2 (B, 3, H, W), three stops darker."""
    light = (torch.exp(UNIT * log.float()) - 0.01).clamp(min=0) / 8
    shown = light.clamp(max=1).pow(1 / 2.4).permute(0, 2, 3, 1).cpu().numpy()
    return np.asarray(np.rint(255 * shown), np.uint8)
