"""The methods: how the keys of a span are carried to the frames between, one target at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

from stpn.engine.alignment import (
    Estimate,
    Image,
    agreement,
    estimate_flow,
    estimate_quickly,
    refine,
    refine_quickly,
)
from stpn.engine.array_store import ArrayStore
from stpn.engine.fusion import Candidate, Fused, candidate, fuse
from stpn.engine.mixture import Mixture, mixed_by_hand
from stpn.engine.routes import KeptRoutes, guide8, neighbour_steps
from stpn.engine.stages import stage

if TYPE_CHECKING:
    from stpn.engine.aligned_network import AlignedFusion
    from stpn.engine.network import SwitchableTPN


@dataclass(frozen=True)
class Key:
    """A key frame.

    Attributes:
        frame: its number.
        prop: (H, W, C) float32, its property; color: ab of CIE Lab.
    """

    frame: int
    prop: Image


class Carrier(Protocol):
    """Carries the property of the keys to frames; safe to call from several threads."""

    def carry(self, frame: int) -> tuple[Image, Image]:
        """The property (H, W, C) and its confidence (H, W), 0..1, both float32."""

    def carry_batch(self, frames: Sequence[int]) -> list[tuple[Image, Image]]:
        """The same for several frames; a network takes them all at once.

        What comes out is what `carry` gives of each, to the rounding of float32: libraries may add up a batch in
        another order.
        """
        return [self.carry(frame) for frame in frames]


class FlowCarrier(Carrier):
    """Motion and two keys, without learning: `--method flow`.

    Each key is brought to the target along two routes, the motion accumulated over the frames between and the direct
    motion that starts from it; `fusion` makes one picture of them.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        lightness: Mapping[int, Image],
        targets: Sequence[int],
        parallel: Callable[..., Iterable[Image]] = map,
        estimate: Estimate = estimate_flow,
        *,
        quickly: bool = False,
    ) -> None:
        """Estimates all motion that the targets share.

        Args:
            keys: one or two.
            lightness: (H, W) float32, 0..100, of every frame from key to target, keys included.
            targets: the frames that will be asked for.
            parallel: like `map`, or a pool's.
            estimate: of the motion between two frames.
            quickly: whether motion is estimated in half the time, in place of by `estimate`.
        """
        self._keys, self._lightness = keys, lightness
        self._refine = refine_quickly if quickly else partial(refine, estimate=estimate)
        self._guides = {frame: guide8(image) for frame, image in lightness.items()}
        steps = neighbour_steps(self._guides, parallel, estimate_quickly if quickly else estimate, ArrayStore())
        with stage("routes"):
            store = ArrayStore()
            self._routes = [KeptRoutes(key.frame, steps, targets, store) for key in keys]

    def carry(self, frame: int) -> tuple[Image, Image]:
        """See `Carrier`."""
        fused = self._fused(self._candidates(frame), frame)
        return fused.filled, fused.confidence

    def mixtures(self, frames: Sequence[int]) -> list[Mixture]:
        """See `stpn.engine.mixture.Mixing`."""
        found = [(frame, self._candidates(frame)) for frame in frames]
        return [mixed_by_hand(candidates, self._fused(candidates, frame)) for frame, candidates in found]

    def _fused(self, candidates: Sequence[Sequence[Candidate]], frame: int) -> Fused:
        with stage("fusion"):
            return fuse([one for routes in candidates for one in routes], self._lightness[frame])

    def _candidates(self, frame: int) -> list[list[Candidate]]:
        """What each key gives along each of its routes."""
        out = []
        for key, routes in zip(self._keys, self._routes, strict=True):
            accumulated = routes[frame]
            direct = self._refine(accumulated, self._guides[frame], self._guides[key.frame])
            light, distance, here = self._lightness[key.frame], abs(frame - key.frame), self._lightness[frame]
            with stage("warp"):
                out.append([candidate(key.prop, light, here, route, distance) for route in (accumulated, direct)])
        return out


class AlignedCarrier(FlowCarrier):
    """The same motion, with a network that weighs, matches and fills in: `--method aligned`."""

    def __init__(
        self,
        keys: Sequence[Key],
        lightness: Mapping[int, Image],
        targets: Sequence[int],
        network: AlignedFusion,
        parallel: Callable[..., Iterable[Image]] = map,
        estimate: Estimate = estimate_flow,
        *,
        quickly: bool = False,
    ) -> None:
        """As `FlowCarrier`, with a network for the property."""
        super().__init__(keys, lightness, targets, parallel, estimate, quickly=quickly)
        self._network = network

    def carry(self, frame: int) -> tuple[Image, Image]:
        """See `Carrier`."""
        return self.carry_batch([frame])[0]

    def carry_batch(self, frames: Sequence[int]) -> list[tuple[Image, Image]]:
        """See `Carrier`."""
        from stpn.engine.aligned import carry_observed

        return carry_observed(self._network, [self._observed(frame, self._candidates(frame)) for frame in frames])

    def mixtures(self, frames: Sequence[int]) -> list[Mixture]:
        """See `stpn.engine.mixture.Mixing`."""
        from stpn.engine.aligned import mix_observed

        candidates = [self._candidates(frame) for frame in frames]
        pictures = [self._observed(frame, found) for frame, found in zip(frames, candidates, strict=True)]
        return mix_observed(self._network, pictures, candidates)

    def _observed(self, frame: int, candidates: Sequence[Sequence[Candidate]]) -> dict[str, Image]:
        from stpn.engine.observation import observe

        keys, fused = [(self._lightness[key.frame], key.prop) for key in self._keys], self._fused(candidates, frame)
        with stage("network"):
            return observe(candidates, fused, self._lightness[frame], keys)


class NetworkCarrier(Carrier):
    """The paper's network alone, from the nearest key: `--method stpn`."""

    def __init__(
        self,
        keys: Sequence[Key],
        lightness: Mapping[int, Image],
        network: SwitchableTPN,
        guides: Mapping[int, Image] | None = None,
        unit: float = 100.0,
    ) -> None:
        """As `FlowCarrier`, with a network for the property; of `lightness`, keys and targets suffice.

        Args:
            guides: (H, W, G) float32 of each frame, in `unit`, for a network that is guided by more than lightness.
            unit: of the property and of `guides`.
        """
        self._keys, self._network, self._unit = keys, network, np.float32(unit)
        self._lightness, self._guides = lightness, guides

    def carry(self, frame: int) -> tuple[Image, Image]:
        """See `Carrier`. Confidence: the guide is carried too, and compared with the target's own, which is known."""
        return self.carry_batch([frame])[0]

    def carry_batch(self, frames: Sequence[int]) -> list[tuple[Image, Image]]:
        """See `Carrier`."""
        import torch

        from stpn.engine.device import inference
        from stpn.engine.graphs import replayed

        def tensor(images: Iterable[Image]) -> torch.Tensor:
            planes = np.stack([np.moveaxis(np.atleast_3d(image), 2, 0) for image in images])
            return torch.from_numpy(planes).to(device)

        served = [min(self._keys, key=lambda key: (abs(key.frame - frame), key.frame)) for frame in frames]
        channels = served[0].prop.shape[2]
        with inference(self._network, fast=False) as device:
            at_key, at_target = tensor(self._guide(key.frame) for key in served), tensor(map(self._guide, frames))
            gates = replayed(self._network.gates, at_key, at_target)
            carried = (
                replayed(self._network.carry, tensor(key.prop / self._unit for key in served), gates).cpu().numpy()
            )
            planes = at_key if at_key.shape[1] == channels else at_key.repeat(1, channels, 1, 1)
            seen = replayed(self._network.carry, planes, gates).mean(dim=1).cpu().numpy()
            known = at_target.mean(dim=1).cpu().numpy()
        # the network works at a fraction of the resolution, so only what survives that can be compared
        size = 2**self._network.config.halvings + 1
        out = []
        for value, found, given in zip(carried, seen, known, strict=True):
            like = agreement(np.float32(100) * np.asarray(cv2.blur(given, (size, size))), np.float32(100) * found)
            out.append((np.ascontiguousarray(np.moveaxis(value, 0, 2)) * self._unit, like))
        return out

    def _guide(self, frame: int) -> Image:
        """In network units."""
        if self._guides is not None:
            return self._guides[frame] / self._unit
        return np.clip(self._lightness[frame], 0, 100) / np.float32(100) - np.float32(0.5)
