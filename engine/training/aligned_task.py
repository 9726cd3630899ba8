"""The task `aligned`: the network of `--method aligned`, from episodes of two keys and a target between them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.observation import UNIT, collate, inputs
from stpn.engine.training.aligned_data import chances_of, draw, load_episodes
from stpn.engine.training.aligned_episodes import Episodes, build_episodes, draw_rows
from stpn.engine.training.aligned_loss import aligned_loss
from stpn.engine.training.data import DataFolders
from stpn.engine.training.moving import moving_clip
from stpn.engine.training.recipe import Recipe, RecipeError, Stage
from stpn.engine.training.task import Batch
from stpn.engine.weights import save_network

_ROWS = 4

# the episodes of each clip, and how often a clip is drawn
Material: TypeAlias = tuple[list[Episodes], NDArray[np.float64]]


@dataclass(frozen=True)
class AlignedOptions:
    """Options of a stage.

    Attributes:
        pairs: pairs of keys drawn from each clip, whose motion is estimated once.
        targets: frames between the two keys of a pair.
        moving: share of the samples that come from photographs which move; see `moving`.
        photos: how many photographs are made to move.
    """

    pairs: int = 16
    targets: int = 6
    moving: float = 0.0
    photos: int = 138


def make(recipe: Recipe, data: DataFolders) -> AlignedTask:
    """The task of a recipe; motion that the cache lacks is estimated first, about half a minute a clip and processor.

    Raises:
        RecipeError: a size or an option is unknown, of another type or out of range.
        DataError: no clips.
    """
    options = {stage.name: stage.read_options(AlignedOptions) for stage in recipe.stages}
    for stage in recipe.stages:
        if stage.crop % 16:
            raise RecipeError(f"{stage.origin}: crop: expected a multiple of 16, got {stage.crop}")
        for name in ("pairs", "targets"):
            if getattr(options[stage.name], name) < 1:
                raise RecipeError(f"{stage.origin}: options: {name}: expected 1 or more")
        if not 0 <= options[stage.name].moving < 1:
            raise RecipeError(f"{stage.origin}: options: moving: expected 0 or more, below 1")
    network = AlignedFusion(recipe.read_network(AlignedConfig))
    drawn = {name: _material(recipe.seed, data, chosen) for name, chosen in options.items()}
    return AlignedTask(recipe.seed, network, drawn)


class AlignedTask:
    """Fuses, matches and fills in; batches hold the planes of `Inputs` and `truth` (B, 2, S, S), ab / 100."""

    def __init__(self, seed: int, network: AlignedFusion, material: Mapping[str, Material]) -> None:
        """Args: material: of each stage, the episodes of each clip and how often a clip is drawn."""
        self.seed, self.material = seed, material
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: nn.Module = network

    def batch(self, stage: Stage, step: int) -> Batch:
        """Sample i follows from (seed, step, i)."""
        episodes, chances = self.material[stage.name]
        return collate(
            [
                draw(episodes, chances, np.random.default_rng([self.seed, step, i]), stage.crop)
                for i in range(stage.batch)
            ]
        )

    def loss(self, network: nn.Module, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
        """See `aligned_loss`."""
        seen = inputs(batch)
        return aligned_loss(seen, network(seen), batch["truth"])

    def picture(self, network: nn.Module, batch: Batch) -> NDArray[np.uint8]:
        """A row a sample: without learning, result, truth, how sure the network is."""
        rows = inputs({name: value[:_ROWS] for name, value in batch.items()})
        out = network(rows)
        sure = torch.sigmoid(-out.unsure).repeat_interleave(2, 2).repeat_interleave(2, 3)
        grey = np.rint(255 * sure[:, 0].cpu().numpy()).astype(np.uint8)
        columns = [_rgb(rows.lightness, ab) for ab in (rows.by_hand, out.values, batch["truth"][:_ROWS])]
        columns.append(np.repeat(grey[..., None], 3, axis=3))
        return np.concatenate([np.concatenate(list(column), axis=0) for column in columns], axis=1)

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """As `weights.load_network` reads it."""
        assert isinstance(network, AlignedFusion)
        save_network(path, network, metadata)


def _material(seed: int, data: DataFolders, options: AlignedOptions) -> Material:
    clips, folder = data.paths("clips"), data.cache / "episodes"
    episodes = _episodes(clips, folder / f"{options.pairs}x{options.targets}-seed{seed}", options, [seed])
    chances = chances_of(episodes)
    if options.moving:
        photos = data.paths("photos")
        made = data.cache / "moving" / f"seed{seed}"
        made.mkdir(parents=True, exist_ok=True)
        arrays = [np.load(path, mmap_mode="r") for path in photos]
        chosen = np.linspace(0, len(photos) - 1, min(options.photos, len(photos))).astype(int)
        for index in chosen:
            if not (made / photos[index].name).exists():
                clip = moving_clip(arrays, index, np.random.default_rng([seed, 1, index]))
                np.save(made / photos[index].name, clip)
        few = replace(options, pairs=2, targets=3)
        folder = folder / f"moving-{few.pairs}x{few.targets}-{len(chosen)}-seed{seed}"
        crossed = _episodes([made / photos[index].name for index in chosen], folder, few, [seed, 2])
        chances = np.concatenate([(1 - options.moving) * chances, options.moving * chances_of(crossed)])
        episodes = episodes + crossed
    return episodes, chances


def _episodes(clips: list[Path], folder: Path, options: AlignedOptions, seed: list[int]) -> list[Episodes]:
    """The episodes of clips (.npy), estimated where `folder` lacks them; those of clip i follow from (seed, i)."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (clip, folder / clip.stem, options.pairs, options.targets, [*seed, index])
        for index, clip in enumerate(clips)
        if not (folder / clip.stem).exists()
    ]
    if jobs:
        with ProcessPoolExecutor(min(len(jobs), os.cpu_count() or 1), get_context("spawn")) as pool:
            list(pool.map(_build, *zip(*jobs, strict=True)))
    return [load_episodes(folder / clip.stem, np.load(clip, mmap_mode="r")) for clip in clips]


def _build(clip: Path, path: Path, pairs: int, targets: int, seed: list[int]) -> None:
    cv2.setNumThreads(1)
    frames = np.load(clip, mmap_mode="r")
    build_episodes(frames, draw_rows(len(frames), pairs, targets, np.random.default_rng(seed)), path)


def _rgb(lightness: Tensor, ab: Tensor) -> NDArray[np.uint8]:
    """(B, H, W, 3) uint8 of L / 100 (B, 1, H, W) and ab / 100 (B, 2, H, W)."""
    lab = float(UNIT) * torch.cat([lightness, ab.float()], dim=1).permute(0, 2, 3, 1).cpu().numpy()
    pictures = [cv2.cvtColor(np.ascontiguousarray(each, np.float32), cv2.COLOR_LAB2RGB) for each in lab]
    return np.asarray(np.rint(255 * np.clip(np.stack(pictures), 0, 1)), np.uint8)
