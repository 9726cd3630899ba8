"""The task `mask_seg`: the paper's SEG(t) and SEG(t+s), from the key and any other frame of clips of cut-outs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from stpn.engine.properties.mask_segmentation import MaskSegmentation, SegmentationConfig
from stpn.engine.training.cutout_clips import MovingCutout, load_cutouts
from stpn.engine.training.data import DataFolders
from stpn.engine.training.recipe import Recipe, RecipeError, Stage
from stpn.engine.training.task import Batch
from stpn.engine.weights import save_network

_ROWS = 4


@dataclass(frozen=True)
class SegmentationOptions:
    """Options of a stage.

    Attributes:
        clips: how many clips of cut-outs.
    """

    clips: int = 520


def make(recipe: Recipe, data: DataFolders) -> SegmentationTask:
    """The task of a recipe; clips that the cache lacks are made first.

    Raises:
        RecipeError: a size or an option is unknown, of another type or out of range.
        DataError: no material.
    """
    options = {stage.name: stage.read_options(SegmentationOptions) for stage in recipe.stages}
    for stage in recipe.stages:
        if options[stage.name].clips < 1:
            raise RecipeError(f"{stage.origin}: options: clips: expected 1 or more, got {options[stage.name].clips}")
    network = MaskSegmentation(recipe.read_network(SegmentationConfig))
    return SegmentationTask(
        recipe.seed, network, {name: load_cutouts(data, one.clips, recipe.seed) for name, one in options.items()}
    )


class SegmentationTask:
    """Batches hold key_mask, target_mask (B, 1, S, S) and key_picture, target_picture (B, 3, S, S), all 0..1."""

    def __init__(self, seed: int, network: MaskSegmentation, material: Mapping[str, Sequence[MovingCutout]]) -> None:
        self.seed, self.material = seed, material
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: nn.Module = network

    def batch(self, stage: Stage, step: int) -> Batch:
        """Sample i follows from (seed, step, i)."""
        samples = [
            _pair(self.material[stage.name], np.random.default_rng([self.seed, step, i]), stage.crop)
            for i in range(stage.batch)
        ]
        return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}

    def loss(self, network: nn.Module, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
        """Sigmoid cross entropy of both."""
        coarse, fine = network(batch["key_mask"], batch["key_picture"], batch["target_picture"])
        first, second = (binary_cross_entropy_with_logits(x.float(), batch["target_mask"]) for x in (coarse, fine))
        return first + second, {"t": first.item(), "ts": second.item()}

    def picture(self, network: nn.Module, batch: Batch) -> NDArray[np.uint8]:
        """A row a sample: key with its mask, target, SEG(t), SEG(t+s), truth."""
        rows = {name: value[:_ROWS] for name, value in batch.items()}
        coarse, fine = network(rows["key_mask"], rows["key_picture"], rows["target_picture"])
        key = rows["key_picture"] * (0.3 + 0.7 * rows["key_mask"])
        masks = [x.expand(-1, 3, -1, -1) for x in (torch.sigmoid(coarse), torch.sigmoid(fine), rows["target_mask"])]
        sheet = torch.cat([torch.cat(list(x), dim=1) for x in (key, rows["target_picture"], *masks)], dim=2)
        return np.asarray(np.rint(255 * sheet.float().permute(1, 2, 0).cpu().numpy().clip(0, 1)), np.uint8)

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """As `weights.load_mask_segmentation` reads it."""
        assert isinstance(network, MaskSegmentation)
        save_network(path, network, metadata)


def _pair(clips: Sequence[MovingCutout], rng: np.random.Generator, size: int) -> dict[str, NDArray[np.float32]]:
    clip = clips[int(rng.integers(len(clips)))]
    key, target = 0, int(rng.integers(1, len(clip.frames)))
    if rng.random() < 0.5:
        key, target = target, key
    height, width = clip.mattes.shape[1:]
    top, left = int(rng.integers(max(height - size, 0) + 1)), int(rng.integers(max(width - size, 0) + 1))
    window = slice(top, top + size), slice(left, left + size)
    order = rng.permutation(3) if rng.random() < 0.3 else np.array([2, 1, 0])
    mirror = -1 if rng.random() < 0.5 else 1
    tone = rng.uniform(0.75, 1.33)
    out = {}
    for name, frame in (("key", key), ("target", target)):
        picture = (clip.frames[frame][window][:, ::mirror][..., order] / np.float32(255)) ** np.float32(tone)
        out[f"{name}_picture"] = np.ascontiguousarray(np.moveaxis(picture, 2, 0), np.float32)
        out[f"{name}_mask"] = np.ascontiguousarray(clip.mattes[frame][window][None, :, ::mirror] / np.float32(255))
    return out
