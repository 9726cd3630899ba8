"""The fusion network at work on pictures: at its own resolution, applied to the candidates at the picture's."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from stpn.engine.aligned_network import AlignedFusion, Outputs
from stpn.engine.alignment import Image
from stpn.engine.candidate_mixing import correct, fill_in, fill_of, fit, unsure_of, weigh
from stpn.engine.device import inference
from stpn.engine.fusion import Candidate, Fused
from stpn.engine.graphs import replayed
from stpn.engine.mixture import Mixture, keys_and_flows
from stpn.engine.observation import collate, inputs, observe
from stpn.engine.pooling import block_means
from stpn.engine.stages import stage

# the network has seen pictures of this long side; larger ones are shown to it smaller
LONG_SIDE = 512
# pictures beyond the working size have detail that it need not see; at half the side it takes a quarter of the time
MIXED_LONG_SIDE = 384
# every level of the network halves
_MULTIPLE = 16
# what is needed of a picture beside what the network is shown
_AT_FULL_SIZE = ("weights", "values", "spread", "confidence")


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
    with stage("network"), inference(network) as device:
        factor = shown_smaller(*pictures[0]["lightness"].shape[-2:])
        batch, out = _run(network, pictures, device, factor)
        values = out.values
        if factor > 1:
            weighed = weigh(batch["weights"], batch["values"], out.corrections)
            values = fill_in(weighed, batch["spread"], batch["confidence"], out.fills, out.doubts, out.shares)
        values = values * network.config.unit
        return list(zip(_pictures(values, pictures), _confidences(out, batch, pictures), strict=True))


def mix_observed(
    network: AlignedFusion, pictures: Sequence[dict[str, Image]], candidates: Sequence[Sequence[Sequence[Candidate]]]
) -> list[Mixture]:
    """What several pictures of one size are mixed of; mixed, they are what `carry_observed` gives.

    Args:
        network: the weights.
        pictures: of `stpn.engine.observation.observe`.
        candidates: of each picture the routes of each key, as they were observed.
    """
    with stage("network"), inference(network) as device:
        height, width = pictures[0]["lightness"].shape[-2:]
        factor = shown_smaller(height, width, mixed_long_side(network))
        batch, out = _run(network, pictures, device, factor)
        weights = correct(batch["weights"], out.corrections)[:, :, 0]
        share = out.shares
        if network.config.observed:
            # its hand-made fill is the mean of the candidates, which is sampled at full size anyway
            share = torch.cat([torch.zeros_like(share[:, :1]), share[:, 1:]], dim=1)
        fill = fill_of(batch["spread"], out.fills, share) * network.config.unit
        unsure = unsure_of(batch["confidence"], out.doubts)
        if network.config.observed:
            taken = fit(share.sum(dim=1, keepdim=True), unsure)
            fill, unsure = fill / taken.clamp(min=1e-6), unsure * taken
        found = zip(
            candidates,
            _pictures(weights, pictures),
            _pictures(fill, pictures),
            _pictures(unsure, pictures),
            _confidences(out, batch, pictures),
            strict=True,
        )
    mixtures = []
    for routes, weight, filled, doubt, sure in found:
        keys, flows = keys_and_flows(routes)
        # a second key that is not there has weights of 0
        weight = np.ascontiguousarray(np.moveaxis(weight, 2, 0)[: len(keys)])
        mixtures.append(Mixture(keys, flows, weight, filled, doubt[..., 0], sure))
    return mixtures


def _run(
    network: AlignedFusion, pictures: Sequence[dict[str, Image]], device: torch.device, factor: int
) -> tuple[dict[str, Tensor], Outputs]:
    """Planes of the pictures on the device, padded, and what the network says, shown all of them so much smaller."""
    planes = {name: plane.to(device) for name, plane in collate(pictures).items()}
    full = planes if factor == 1 else {name: planes[name] for name in _AT_FULL_SIZE}
    batch = {name: _padded(plane, factor * _MULTIPLE) for name, plane in full.items()}
    seen = batch if factor == 1 else {name: _reduced(name, plane, factor) for name, plane in planes.items()}
    return batch, replayed(network.forward, inputs(seen))


def _pictures(planes: Tensor, pictures: Sequence[dict[str, Image]]) -> list[Image]:
    """(H, W, C) float32 of each picture, without the padding, from (B, C, H, W)."""
    height, width = pictures[0]["lightness"].shape[-2:]
    found = np.moveaxis(planes[..., :height, :width].float().cpu().numpy(), 1, 3)
    return [np.ascontiguousarray(one) for one in found]


def _confidences(out: Outputs, batch: dict[str, Tensor], pictures: Sequence[dict[str, Image]]) -> list[Image]:
    """(H, W) float32 of each picture, 0..1."""
    height, width = pictures[0]["lightness"].shape[-2:]
    full = (batch["confidence"].shape[-1], batch["confidence"].shape[-2])
    sure = torch.sigmoid(-out.unsure)[:, 0].cpu().numpy()
    resized = (cv2.resize(each, full, interpolation=cv2.INTER_LINEAR) for each in sure)
    return [np.ascontiguousarray(one[:height, :width]) for one in resized]


def mixed_long_side(network: AlignedFusion) -> int:
    """The long side of what the network is shown of a larger plate at the working size, or a little more or less.

    Of HDR more: where the plate clips, nothing else tells at full size which key is right, and a network that saw half
    as much was 1.4 dB off.
    """
    return LONG_SIDE if network.config.observed else MIXED_LONG_SIDE


def shown_smaller(height: int, width: int, long_side: int | None = None) -> int:
    """How many times smaller than it is the network is shown a picture; `LONG_SIDE` unless another one is given."""
    return max(1, round(max(height, width) / (long_side or LONG_SIDE)))


def _padded(plane: Tensor, multiple: int) -> Tensor:
    if plane.ndim < 4:
        return plane
    height, width = plane.shape[-2:]
    rows, columns = -height % multiple, -width % multiple
    if not (rows or columns):
        return plane
    flat = plane.reshape(1, -1, height, width)
    return pad(flat, (0, columns, 0, rows), mode="replicate").reshape(*plane.shape[:-2], height + rows, width + columns)


def _reduced(name: str, plane: Tensor, factor: int) -> Tensor:
    """Smaller by area, and padded; lengths in pixels shrink with the picture."""
    if plane.ndim < 4:
        return plane
    small = block_means(plane, factor, _MULTIPLE)
    return small / factor if name in ("flow", "error") else small
