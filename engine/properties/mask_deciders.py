"""How a chain decides where the objects of a frame are: by the network, or without learning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from stpn.engine.alignment import Image
from stpn.engine.properties.mask_appearance import snapped
from stpn.engine.properties.mask_chain import Frame, Sight
from stpn.engine.properties.mask_observation import all_planes

if TYPE_CHECKING:
    from torch import Tensor

    from stpn.engine.properties.mask_network import MaskRefiner

# of `ByHand`: how far a sign can go alone, and how much the colors of the key count beside motion
_LEAST = np.float32(0.02)
_COLORS = np.float32(0.3)
_EDGE = np.float32(0.35)


class ByNetwork:
    """The network decides."""

    def __init__(self, network: MaskRefiner) -> None:
        self._network = network

    def remember(self, frame: Frame) -> Tensor:
        """See `Decider`."""
        import torch

        from stpn.engine.device import inference
        from stpn.engine.graphs import replayed

        picture = torch.from_numpy(padded(np.moveaxis(frame.rgb, 2, 0))[None])
        with inference(self._network) as device:
            return replayed(self._network.features, picture.to(device))

    def decide(self, sight: Sight, here: Tensor | None) -> tuple[Image, Image]:
        """See `Decider`."""
        import torch

        from stpn.engine.device import device_of, inference
        from stpn.engine.graphs import replayed
        from stpn.engine.properties.mask_network import Observed, mask_of

        assert here is not None
        assert sight.memory is not None
        height, width = sight.moved.shape[1:]
        masks, sure = [], np.ones((height, width), np.float32)
        # one object at a time: how many there are must not change the bits of one
        for index, known in enumerate(sight.known):
            planes = all_planes(known, sight.moved[index], sight.frame.colors)
            seen, flow, before, key = (
                torch.from_numpy(padded(one)[None]).to(device_of(self._network))
                for one in (
                    planes,
                    np.moveaxis(sight.flow, 2, 0),
                    sight.before_masks[index][None],
                    sight.key_masks[index][None],
                )
            )
            observed = Observed(seen, flow, before, key, here, *sight.memory)
            with inference(self._network):
                made = replayed(self._network.forward, observed)
            masks.append(mask_of(made.odds)[0, 0, :height, :width].cpu().numpy())
            sure = np.minimum(sure, torch.sigmoid(made.sure)[0, 0, :height, :width].cpu().numpy())
        return np.stack(masks), sure


class ByHand:
    """Motion, the picture's own edges and the colors of the key, without learning."""

    def remember(self, frame: Frame) -> None:
        """Nothing."""

    def decide(self, sight: Sight, here: Tensor | None) -> tuple[Image, Image]:
        """See `Decider`."""
        masks = []
        for known, moved in zip(sight.known, sight.moved, strict=True):
            at_edge = np.exp(-np.square((moved - np.float32(0.5)) / _EDGE))
            likely = cv2.GaussianBlur(known[7], (0, 0), 1)
            odds = np.float32(0.5) * (_odds(moved) + _odds(snapped(sight.frame.colors, moved)))
            odds = odds + _COLORS * at_edge * _odds(likely)
            masks.append(_steeper(np.asarray(1 / (1 + np.exp(-odds)), np.float32)))
        trust, step_change = sight.known[0][4], sight.known[0][5]
        return np.stack(masks), np.asarray(trust * (1 - step_change), np.float32)


def _odds(mask: Image) -> Image:
    safe = np.clip(mask, _LEAST, 1 - _LEAST)
    return np.asarray(np.log(safe / (1 - safe)), np.float32)


def _steeper(mask: Image) -> Image:
    """What moving blurs, frame by frame, and limits of log-odds lift from 0 and 1, is made good."""
    return np.asarray(np.clip((mask - np.float32(0.5)) * np.float32(1.15) + np.float32(0.5), 0, 1), np.float32)


def padded(planes: Image) -> Image:
    """(..., h, w) with sides that are multiples of what the network needs, edges repeated."""
    from stpn.engine.properties.mask_network import MULTIPLE

    height, width = planes.shape[-2:]
    more = [(0, 0)] * (planes.ndim - 2) + [(0, -height % MULTIPLE), (0, -width % MULTIPLE)]
    return np.ascontiguousarray(np.pad(planes, more, mode="edge"), np.float32)
