"""Masks and mattes: how the keys' objects are carried to the frames between, one target at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stpn.engine.alignment import Estimate, Image, estimate_flow
from stpn.engine.carriers import Carrier, Key
from stpn.engine.properties.mask_chain import Carried, Chain, Decider, Frame
from stpn.engine.properties.mask_deciders import ByHand, ByNetwork, padded
from stpn.engine.properties.mask_detail import detailed, reduced, with_key_detail, working_size

if TYPE_CHECKING:
    from stpn.engine.properties.mask_network import MaskRefiner
    from stpn.engine.properties.mask_segmentation import MaskSegmentation

__all__ = ["MaskCarrier", "SegmentationCarrier"]

# a key that is not sure still has a say, where no other is surer
_LEAST = np.float32(0.02)


class MaskCarrier(Carrier):
    """From each key outward, frame by frame, along motion; a network decides, or colors and edges do."""

    def __init__(
        self,
        keys: Sequence[Key],
        pictures: Mapping[int, Image],
        targets: Sequence[int],
        network: MaskRefiner | None,
        parallel: Callable[..., Iterable[Any]] = map,
        estimate: Estimate = estimate_flow,
    ) -> None:
        """Reads nothing yet.

        Args:
            keys: one or two; `prop` is (H, W, C) float32, 0..1, one channel an object. Where the objects of a key sum
                to at most 1 everywhere, what comes of it does too.
            pictures: (H, W, 3) float32, display-referred RGB 0..1 (what is outside is clipped), of every frame from the
                keys to the targets. It may read files when asked: each frame is asked for once a key, going outward,
                and, where it is larger than the network's pictures, once more for itself.
            targets: the frames that will be asked for.
            network: of `weights.load_mask`; None: without learning.
            parallel: like `map`, or a pool's.
            estimate: of the motion between two frames.
        """
        if not keys or len({key.prop.shape for key in keys}) != 1 or keys[0].prop.ndim != 3:
            raise ValueError(f"expected keys (H, W, C) of one size, got {[key.prop.shape for key in keys]}")
        self._keys, self._pictures = {key.frame: _clipped(key.prop) for key in keys}, pictures
        self._size = working_size(*keys[0].prop.shape[:2])
        decider: Decider = ByHand() if network is None else ByNetwork(network)
        self._chains: dict[tuple[int, bool], Chain] = {}
        for number, masks in self._keys.items():
            small = reduced(masks, self._size)
            for after in (False, True):
                side = [target for target in targets if target != number and (target > number) == after]
                if side:
                    self._chains[number, after] = Chain(number, small, pictures, side, decider, parallel, estimate)
        self._rebuilt: dict[int, Image] = {}

    def carry(self, frame: int) -> tuple[Image, Image]:
        """The mattes (H, W, C) float32, 0..1, and how sure they are (H, W), 0..1; of a key itself, what it was given.

        Raises:
            KeyError: the frame is not among the targets.
        """
        if frame in self._keys:
            return self._keys[frame].copy(), np.ones(self._keys[frame].shape[:2], np.float32)
        found = {number: self._chains[number, frame > number].at(frame) for number in self._keys}
        height, width, _ = next(iter(self._keys.values())).shape
        if self._size == (height, width):
            masks = {number: one.masks.astype(np.float32) for number, one in found.items()}
        else:
            picture = np.clip(np.nan_to_num(np.asarray(self._pictures[frame], np.float32)), 0, 1)
            small = Frame.of(picture, self._size).rgb
            masks = {number: self._whole(number, one, picture, small) for number, one in found.items()}
        return _joined(frame, masks, {number: _sure(one, height, width) for number, one in found.items()})

    def _whole(self, key: int, carried: Carried, picture: Image, small: Image) -> Image:
        """One key's masks (C, H, W) at the picture's size."""
        out = detailed(carried.masks.astype(np.float32), small, picture)
        own = np.ascontiguousarray(np.moveaxis(self._keys[key], 2, 0))
        rebuilt = self._rebuilt.get(key)
        if rebuilt is None:
            there = np.clip(np.nan_to_num(np.asarray(self._pictures[key], np.float32)), 0, 1)
            rebuilt = detailed(reduced(self._keys[key], self._size), Frame.of(there, self._size).rgb, there)
            self._rebuilt[key] = rebuilt
        same = carried.same.astype(np.float32)
        return with_key_detail(out, own, rebuilt, carried.to_key.astype(np.float32), same)


class SegmentationCarrier(Carrier):
    """The paper's networks, from the nearest key at once: SEG(t), or SEG(t+s)."""

    def __init__(
        self, keys: Sequence[Key], pictures: Mapping[int, Image], network: MaskSegmentation, refined: bool = True
    ) -> None:
        """As `MaskCarrier`; of `pictures`, keys and targets suffice.

        Args:
            network: of `weights.load_mask_segmentation`.
            refined: SEG(t+s), else SEG(t).
        """
        self._keys, self._pictures = {key.frame: _clipped(key.prop) for key in keys}, pictures
        self._network, self._refined = network, refined
        self._size = working_size(*keys[0].prop.shape[:2])

    def carry(self, frame: int) -> tuple[Image, Image]:
        """See `MaskCarrier.carry`."""
        import torch

        number = min(self._keys, key=lambda key: (abs(key - frame), key))
        prop = self._keys[number]
        pictures = [np.clip(np.asarray(self._pictures[one], np.float32), 0, 1) for one in (number, frame)]
        key, here = (Frame.of(picture, self._size).rgb for picture in pictures)
        seen = [torch.from_numpy(padded(np.moveaxis(rgb, 2, 0))[None]) for rgb in (key, here)]
        height, width = self._size
        masks = []
        with torch.inference_mode():
            for mask in reduced(prop, self._size):
                coarse = self._network.propagated(torch.from_numpy(padded(mask)[None, None]), *seen)
                odds = self._network.refined(coarse, seen[1]) if self._refined else coarse
                masks.append(torch.sigmoid(odds)[0, 0, :height, :width].numpy())
        whole = detailed(np.stack(masks), here, pictures[1])
        if _compete(prop):
            whole = whole / np.maximum(whole.sum(axis=0), 1)
        out = np.ascontiguousarray(np.moveaxis(whole, 0, 2), np.float32)
        return out, np.asarray(np.abs(2 * out - 1).min(axis=2), np.float32)


def _joined(frame: int, masks: Mapping[int, Image], sure: Mapping[int, Image]) -> tuple[Image, Image]:
    """What the keys say together: the surer and the nearer count more."""
    total, weights = np.zeros_like(next(iter(masks.values()))), np.zeros_like(next(iter(sure.values())))
    for number, one in masks.items():
        weight = np.square(_LEAST + sure[number]) / np.float32(abs(frame - number))
        total, weights = total + weight * one, weights + weight
    mattes = np.clip(total / weights, 0, 1)
    return np.ascontiguousarray(np.moveaxis(mattes, 0, 2), np.float32), np.max(list(sure.values()), axis=0)


def _sure(carried: Carried, height: int, width: int) -> Image:
    import cv2

    small = carried.sure.astype(np.float32)
    if small.shape == (height, width):
        return small
    whole = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(whole, 0, 1), np.float32)


def _compete(prop: Image) -> bool:
    return bool((prop.sum(axis=2) <= 1 + 1e-3).all())


def _clipped(prop: Image) -> Image:
    return np.asarray(np.clip(np.nan_to_num(np.asarray(prop, np.float32)), 0, 1), np.float32)
