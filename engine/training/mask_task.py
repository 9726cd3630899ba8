"""The task `mask`: the network that corrects masks on their way, from clips of cut-outs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits

from stpn.engine.alignment import warp
from stpn.engine.properties.mask_appearance import lab
from stpn.engine.properties.mask_matching import BLOCK, FEATURES
from stpn.engine.properties.mask_network import MULTIPLE, Decided, MaskConfig, MaskRefiner, Observed, mask_of
from stpn.engine.properties.mask_observation import all_planes
from stpn.engine.training.cutout_clips import FRAMES, MovingCutout, load_cutouts
from stpn.engine.training.data import DataFolders
from stpn.engine.training.mask_samples import draw
from stpn.engine.training.recipe import Recipe, RecipeError, Stage
from stpn.engine.training.task import Batch
from stpn.engine.weights import save_network

# the growth a frame of clips whose objects grow or shrink fast
GROWING = 0.1
# a mask of so many pixels that is lost, or won, counts half of a large one
_SMALL = 30.0
# of the difference between the likest blocks' likeness
_MATCH_GAIN = 6.0
# a mask this near to the truth is right, for the confidence
_RIGHT = 0.25
_ROWS = 4


@dataclass(frozen=True)
class MaskOptions:
    """Options of a stage.

    Attributes:
        clips: how many clips of cut-outs.
        growing: how many more whose objects grow or shrink fast.
        steps: frames in a row of a sample; the network goes on from its own results.
        changed: how often parts of the object have other colors at the key, 0..1.
    """

    clips: int = 520
    growing: int = 0
    steps: int = 2
    changed: float = 0.0


def make(recipe: Recipe, data: DataFolders) -> MaskTask:
    """The task of a recipe; clips that the cache lacks are made first.

    Raises:
        RecipeError: a size or an option is unknown, of another type or out of range.
        DataError: no material.
    """
    options = {stage.name: stage.read_options(MaskOptions) for stage in recipe.stages}
    for stage in recipe.stages:
        chosen = options[stage.name]
        rules = [
            ("clips", chosen.clips >= 1, "1 or more"),
            ("growing", chosen.growing >= 0, "0 or more"),
            ("steps", 1 <= chosen.steps < FRAMES, f"1..{FRAMES - 1}"),
            ("changed", 0 <= chosen.changed <= 1, "0..1"),
        ]
        for name, holds, expected in rules:
            if not holds:
                raise RecipeError(f"{stage.origin}: options: {name}: expected {expected}, got {getattr(chosen, name)}")
        if stage.crop % MULTIPLE:
            raise RecipeError(f"{stage.origin}: crop: expected a multiple of {MULTIPLE}, got {stage.crop}")
    network = MaskRefiner(recipe.read_network(MaskConfig))
    material = {
        name: [
            *load_cutouts(data, one.clips, recipe.seed),
            *load_cutouts(data, one.growing, recipe.seed, GROWING),
        ]
        for name, one in options.items()
    }
    return MaskTask(recipe.seed, network, options, material)


class MaskTask:
    """Batches hold what `mask_samples.draw` gives."""

    def __init__(
        self,
        seed: int,
        network: MaskRefiner,
        options: Mapping[str, MaskOptions],
        material: Mapping[str, Sequence[MovingCutout]],
    ) -> None:
        self.seed, self.options, self.material = seed, options, material
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network: nn.Module = network

    def batch(self, stage: Stage, step: int) -> Batch:
        """Sample i follows from (seed, step, i)."""
        clips, chosen = self.material[stage.name], self.options[stage.name]
        rngs = [np.random.default_rng([self.seed, step, i]) for i in range(stage.batch)]
        return stacked([draw(clips, rng, stage.crop, chosen.steps, chosen.changed) for rng in rngs])

    def loss(self, network: nn.Module, batch: Batch, stage: Stage) -> tuple[Tensor, dict[str, float]]:
        """See `mask_loss`."""
        assert isinstance(network, MaskRefiner)
        return mask_loss(network, batch)

    def picture(self, network: nn.Module, batch: Batch) -> NDArray[np.uint8]:
        """A row a sample: picture, mask moved along, result, truth, how sure the network is; of the first step."""
        assert isinstance(network, MaskRefiner)
        rows = {name: value[:_ROWS] for name, value in batch.items()}
        made = steps_of(network, rows)[0]
        shown = (rows["planes1"][:, 3:4], mask_of(made.odds), rows["truth1"], torch.sigmoid(made.sure))
        columns = [rows["planes1"][:, :3] + 0.5, *(one.expand(-1, 3, -1, -1) for one in shown)]
        sheet = torch.cat([torch.cat(list(x), dim=1) for x in columns], dim=2)
        return np.asarray(np.rint(255 * sheet.float().permute(1, 2, 0).cpu().numpy().clip(0, 1)), np.uint8)

    def save(self, path: Path, network: nn.Module, metadata: Mapping[str, str]) -> None:
        """As `weights.load_mask` reads it."""
        assert isinstance(network, MaskRefiner)
        save_network(path, network, metadata)


def stacked(samples: Sequence[Mapping[str, NDArray[np.float32]]]) -> Batch:
    """A batch of what `draw` gives."""
    return {name: torch.from_numpy(np.stack([sample[name] for sample in samples])) for name in samples[0]}


def mask_loss(network: MaskRefiner, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Over all steps: one minus the overlap of soft masks, cross entropy, and that of being right."""
    numbers: dict[str, float] = {}
    total = torch.zeros((), device=batch["key_mask"].device)
    decided = steps_of(network, batch)
    for step, made in enumerate(decided, 1):
        truth, mask = batch[f"truth{step}"], mask_of(made.odds)
        apart = (mask - truth).abs().flatten(1).sum(dim=1)
        missed = apart / (torch.maximum(mask, truth).flatten(1).sum(dim=1) + _SMALL)
        entropy = binary_cross_entropy_with_logits(made.odds, truth, reduction="none").flatten(1).mean(dim=1)
        right = ((mask.detach() - truth).abs() < _RIGHT).float()
        doubt = binary_cross_entropy_with_logits(made.sure, right)
        # the nearest blocks of object and surroundings are to tell by themselves what a block is
        inside = avg_pool2d(truth, BLOCK)
        told = torch.stack([_MATCH_GAIN * (made.matched[:, k] - made.matched[:, k + 1]) for k in (0, FEATURES)], dim=1)
        match = binary_cross_entropy_with_logits(told, inside.expand_as(told))
        # the logarithm lets what is nearly right count too
        total = total + missed.mean() + 0.1 * (missed + 0.03).log().mean() + entropy.mean() + 0.1 * doubt + 0.2 * match
        numbers |= {f"missed{step}": missed.mean().item(), f"doubt{step}": doubt.item(), f"match{step}": match.item()}
    still = (batch["planes1"][:, 3:4] - batch["truth1"]).abs().flatten(1).sum(dim=1)
    most = torch.maximum(batch["planes1"][:, 3:4], batch["truth1"]).flatten(1).sum(dim=1) + _SMALL
    return total / len(decided), numbers | {"moved1": (still / most).mean().item()}


def steps_of(network: MaskRefiner, batch: Batch) -> list[Decided]:
    """What the network says at every step, each from the result of the one before."""
    steps = sum(name.startswith("truth") for name in batch)
    pictures = [batch["key_picture"], batch["before_picture"], batch["planes1"][:, :3] + 0.5]
    pictures += [batch[f"known{step}"][:, :3] + 0.5 for step in range(2, steps + 1)]
    key, *seen = network.features(torch.cat(pictures)).chunk(steps + 2)
    before, planes = batch["before_mask"], batch["planes1"]
    out: list[Decided] = []
    for step in range(1, steps + 1):
        flow = batch[f"flow{step}"]
        if step > 1:
            before = mask_of(out[-1].odds.detach())
            planes = _next_planes(batch[f"known{step}"], before, flow)
        x = Observed(planes, flow, before, batch["key_mask"], seen[step], seen[step - 1], key)
        out.append(network(x))
    return out


def _next_planes(known: Tensor, before: Tensor, flow: Tensor) -> Tensor:
    """`Observed.planes` from the mask of the step before, each entry as it is made when the network works."""
    planes = []
    for one, mask, way in zip(known.cpu().numpy(), before.cpu().numpy(), flow.cpu().numpy(), strict=True):
        moved = warp(np.ascontiguousarray(mask[0]), np.ascontiguousarray(np.moveaxis(way, 0, 2)))
        picture = np.ascontiguousarray(np.moveaxis(one[:3] + np.float32(0.5), 0, 2))
        planes.append(all_planes(one, moved, lab(picture)))
    return torch.from_numpy(np.stack(planes)).to(known.device)
