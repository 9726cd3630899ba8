"""The task `color`: the paper's network, from pairs of frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from stpn.engine.network import NetworkConfig, SwitchableTPN, switchable_loss
from stpn.engine.training.augmentation import compressed, exposed, grainy, occluded, random_occluder, recolored
from stpn.engine.training.data import DataFolders, Kind
from stpn.engine.training.decoding import Frames
from stpn.engine.training.pairs import LONGEST_GAP, Pair, clip_pair, photo_pair
from stpn.engine.training.recipe import Recipe, RecipeError, Stage
from stpn.engine.training.task import Batch
from stpn.engine.weights import save_network

# in (ab / 100)^2: below this, half a unit of ab, a sample is good enough
EPSILON = 2e-5
_ROWS = 4


@dataclass(frozen=True)
class ColorOptions:
    """Options of a stage.

    Attributes:
        pairs: two views of a photograph, or two frames of a clip.
        gap_power, longest_gap: distance of two frames; see `pairs.random_gap`.
        switch_weight: lambda of equation (8); 0 is the basic network (the paper's TPN without the switch).
        relative: each sample counts by the logarithm of its error, as it does in a mean of PSNR, in place of the error.
        exposure: the guides of a pair differ by up to so many stops.
        grain: largest standard deviation of film grain on the guides, in L (0..100).
        jpeg: how often the guides go through JPEG, 0..1.
        occluder: how often something is pasted that moves on its own, 0..1.
    """

    pairs: Literal["photos", "clips"]
    gap_power: float = 1.0
    longest_gap: int = LONGEST_GAP
    switch_weight: float = 0.1
    relative: bool = False
    exposure: float = 0.0
    grain: float = 0.0
    jpeg: float = 0.0
    occluder: float = 0.0


def make(recipe: Recipe, data: DataFolders) -> ColorTask:
    """The task of a recipe.

    Raises:
        RecipeError: a size or an option is unknown, of another type or out of range.
        DataError: no material.
    """
    options = {stage.name: _options(stage) for stage in recipe.stages}
    network = _network(recipe)
    kinds = {choice.pairs for choice in options.values()}
    return ColorTask(recipe.seed, network, options, {kind: data.load(kind) for kind in sorted(kinds)})


class ColorTask:
    """Carries ab under the guidance of lightness; batches hold key_property, target_property (B, 2, S, S) and
    key_guide, target_guide (B, 1, S, S), float32 in network units (ab / 100, L / 100 - 0.5)."""

    def __init__(
        self,
        seed: int,
        network: SwitchableTPN,
        options: Mapping[str, ColorOptions],
        material: Mapping[Kind, list[Frames]],
    ) -> None:
        self.seed, self.options, self.material = seed, options, material
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: nn.Module = network

    def batch(self, stage: Stage, step: int) -> Batch:
        """Sample i follows from (seed, step, i)."""
        samples = [self._pair(stage, np.random.default_rng([self.seed, step, i])) for i in range(stage.batch)]
        key, target = (torch.from_numpy(np.stack(side)).permute(0, 3, 1, 2) for side in zip(*samples, strict=True))
        return {
            "key_property": key[:, 1:] / 100,
            "target_property": target[:, 1:] / 100,
            "key_guide": key[:, :1] / 100 - 0.5,
            "target_guide": target[:, :1] / 100 - 0.5,
        }

    def loss(self, network: nn.Module, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
        """Equation (8), and its two terms: there (key to target) and back."""
        options = self.options[stage.name]
        error = log_error if options.relative else mse_loss
        assert isinstance(network, SwitchableTPN)
        loss, there, back = switchable_loss(network, **batch, weight=options.switch_weight, error=error)
        return loss, {"there": there.item()} | ({} if back is None else {"back": back.item()})

    def picture(self, network: nn.Module, batch: Batch) -> NDArray[np.uint8]:
        """A row a sample: key, target's lightness, result, truth."""
        count = min(_ROWS, len(batch["key_guide"]))
        rows = {name: value[:count] for name, value in batch.items()}
        result = network(rows["key_property"], rows["key_guide"], rows["target_guide"])
        columns = [
            _rgb(rows["key_guide"], rows["key_property"]),
            _rgb(rows["target_guide"], torch.zeros_like(result)),
            _rgb(rows["target_guide"], result),
            _rgb(rows["target_guide"], rows["target_property"]),
        ]
        return np.concatenate([np.concatenate(list(column), axis=0) for column in columns], axis=1)

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """As `weights.load_network` reads it."""
        assert isinstance(network, SwitchableTPN)
        save_network(path, network, metadata)

    def _pair(self, stage: Stage, rng: np.random.Generator) -> Pair:
        options = self.options[stage.name]
        material = self.material[options.pairs]
        draw = partial(clip_pair, gap_power=options.gap_power, longest_gap=options.longest_gap)
        pair = (photo_pair if options.pairs == "photos" else draw)(material, rng, stage.crop)
        if options.occluder and rng.random() < options.occluder:
            picture = material[rng.integers(len(material))]
            picture = picture if options.pairs == "photos" else picture[rng.integers(len(picture))]
            pair = occluded(pair, random_occluder(np.ascontiguousarray(picture), stage.crop, rng))
        first, second = recolored(pair, rng)
        if options.exposure:
            # one of the two, so that the whole range of differences is met
            changed = (first, second)[rng.integers(2)]
            changed[..., 0] = exposed(changed[..., 0], rng.uniform(-options.exposure, options.exposure))
        for lab in (first, second):
            if options.grain:
                lab[..., 0] = grainy(lab[..., 0], rng.uniform(0, options.grain), rng)
            if options.jpeg and rng.random() < options.jpeg:
                lab[..., 0] = compressed(lab[..., 0], int(rng.integers(30, 96)))
        return first, second


def log_error(output: Tensor, truth: Tensor) -> Tensor:
    """The mean over the batch of log(mean squared error of a sample + EPSILON).

    The measure is a mean of PSNR over pictures: there each counts by its logarithm, the easy as much as the hard.

    Args:
        output, truth: (B, C, H, W).
    """
    error = (output.float() - truth).square().flatten(1).mean(1)
    return (error + EPSILON).log().mean()


def _network(recipe: Recipe) -> SwitchableTPN:
    config = recipe.read_network(NetworkConfig)
    if (config.property_channels, config.guide_channels) != (2, 1):
        got = f"{config.property_channels} and {config.guide_channels}"
        raise RecipeError(f"{recipe.origin}: network: expected property_channels 2 and guide_channels 1, got {got}")
    try:
        return SwitchableTPN(config)
    except (ValueError, RuntimeError) as error:
        raise RecipeError(f"{recipe.origin}: network: expected sizes that fit together, got: {error}") from error


def _options(stage: Stage) -> ColorOptions:
    options = stage.read_options(ColorOptions)
    rules = [
        ("gap_power", options.gap_power > 0, "more than 0"),
        ("longest_gap", options.longest_gap > 0, "1 or more"),
        *((name, getattr(options, name) >= 0, "0 or more") for name in ("switch_weight", "exposure", "grain")),
        *((name, 0 <= getattr(options, name) <= 1, "0..1") for name in ("jpeg", "occluder")),
    ]
    for name, holds, expected in rules:
        if not holds:
            raise RecipeError(f"{stage.origin}: options: {name}: expected {expected}, got {getattr(options, name)}")
    return options


def _rgb(guide: Tensor, color: Tensor) -> NDArray[np.uint8]:
    """(B, H, W, 3) uint8 RGB of lightness (B, 1, H, W) and color (B, 2, H, W) in network units."""
    lab = torch.cat([(guide + 0.5) * 100, color.float() * 100], dim=1).permute(0, 2, 3, 1).cpu().numpy()
    pictures = [cv2.cvtColor(np.ascontiguousarray(each), cv2.COLOR_LAB2RGB) for each in lab]
    return np.asarray(np.rint(255 * np.clip(np.stack(pictures), 0, 1)), np.uint8)
