"""The fusion network at work on pictures: at its own resolution, applied to the candidates at the picture's."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from stpn.engine.aligned_network import AlignedFusion
from stpn.engine.alignment import Image
from stpn.engine.candidate_mixing import fill_in, weigh
from stpn.engine.device import inference
from stpn.engine.fusion import Candidate, Fused
from stpn.engine.observation import collate, inputs, observe

# the network has seen pictures of this long side; larger ones are shown to it smaller
LONG_SIDE = 512
# every level of the network halves
_MULTIPLE = 16


def carry_aligned(
    network: AlignedFusion,
    candidates: Sequence[Sequence[Candidate]],
    fused: Fused,
    lightness: Image,
    keys: Sequence[tuple[Image, Image]],
    shown: tuple[Image, Image] | None = None,
) -> tuple[Image, Image]:
    """The property (H, W, C) and the confidence (H, W), 0..1: the chance that the error is below 5 units of ab, or 0.1
    in ln(H + 0.01).

    Args:
        network: the weights.
        candidates, fused, lightness, keys, shown: as for `stpn.engine.observation.observe`.
    """
    return carry_observed(network, [observe(candidates, fused, lightness, keys, network.config.unit, shown)])[0]


def carry_observed(network: AlignedFusion, pictures: Sequence[dict[str, Image]]) -> list[tuple[Image, Image]]:
    """The same for several pictures of one size at once, each as it would be alone, to the rounding of float32.

    Args:
        network: the weights.
        pictures: of `stpn.engine.observation.observe`.
    """
    height, width = pictures[0]["lightness"].shape[-2:]
    factor = shown_smaller(height, width)
    batch = {name: _padded(plane, factor * _MULTIPLE) for name, plane in collate(pictures).items()}
    with inference(network) as device:
        batch = {name: plane.to(device) for name, plane in batch.items()}
        seen = batch if factor == 1 else {name: _reduced(name, plane, factor) for name, plane in batch.items()}
        out = network(inputs(seen))
        values = out.values
        if factor > 1:
            weighed = weigh(batch["weights"], batch["values"], out.corrections)
            values = fill_in(weighed, batch["spread"], batch["confidence"], out.fills, out.doubts, out.shares)
        sure = torch.sigmoid(-out.unsure)[:, 0].cpu().numpy()
    full = (batch["lightness"].shape[-1], batch["lightness"].shape[-2])
    props = np.moveaxis(values[..., :height, :width].cpu().numpy() * np.float32(network.config.unit), 1, 3)
    confidences = [cv2.resize(each, full, interpolation=cv2.INTER_LINEAR)[:height, :width] for each in sure]
    return [(np.ascontiguousarray(p), np.ascontiguousarray(c)) for p, c in zip(props, confidences, strict=True)]


def shown_smaller(height: int, width: int) -> int:
    """How many times smaller than it is the network is shown a picture."""
    return max(1, round(max(height, width) / LONG_SIDE))


def _padded(plane: Tensor, multiple: int) -> Tensor:
    if plane.ndim < 4:
        return plane
    height, width = plane.shape[-2:]
    rows = torch.arange(height + -height % multiple).clamp(max=height - 1)
    columns = torch.arange(width + -width % multiple).clamp(max=width - 1)
    if len(rows) == height and len(columns) == width:
        return plane
    return plane[..., rows[:, None], columns]


def _reduced(name: str, plane: Tensor, factor: int) -> Tensor:
    """Smaller by area; lengths in pixels shrink with the picture."""
    if plane.ndim < 4:
        return plane
    flat = plane.flatten(0, -4) if plane.ndim > 4 else plane
    small = avg_pool2d(flat, factor).reshape(*plane.shape[:-2], plane.shape[-2] // factor, plane.shape[-1] // factor)
    return small / factor if name in ("flow", "error") else small
