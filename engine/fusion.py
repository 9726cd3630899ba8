"""What several keys say of one pixel becomes one value and a confidence, without learning.

Every candidate is a key's property brought to the target frame along one route. It weighs as much as its route is
consistent, its lightness agrees and its key is near; the weights are softened, because picking one candidate is worse
than blending; and what stays unsure is filled from the sure pixels that lightness joins it to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.alignment import Route, agreement, round_trip, trust_in_return, warp
from stpn.engine.infill import spread

Image = NDArray[np.float32]

# neither sign of trust may veto a candidate alone
_LEAST = np.float32(0.02)


@dataclass(frozen=True)
class Candidate:
    """A key's property as seen from the target frame.

    Attributes:
        value: (H, W, C) float32.
        lightness: (H, W) float32, 0..100: the key's, seen the same way.
        trust: (H, W) float32, 0..1: route consistent and lightness alike.
        flow: (H, W, 2) float32, pixels: target -> key.
        error: (H, W, 2) float32, pixels: where going to the key and back ends, minus where it began.
        distance: frames between key and target, at least 1.
    """

    value: Image
    lightness: Image
    trust: Image
    flow: Image
    error: Image
    distance: int


def candidate(
    prop: Image, key_lightness: Image, lightness: Image, route: Route, distance: int, corner: tuple[int, int] = (0, 0)
) -> Candidate:
    """Brings a key's property to the target along a route and says how far to trust it.

    Args:
        prop: (H, W, C) float32, the key's property.
        key_lightness: (H, W) float32, 0..100, of the key frame.
        lightness: (h, w) float32, 0..100, of the target frame or a window of it.
        route: motion between the two; `to_key` of the window, `to_target` whole.
        distance: frames between the two.
        corner: row and column of the window's first pixel.
    """
    seen = warp(key_lightness, route.to_key, corner)
    error = round_trip(route.to_key, route.to_target, corner)
    returns = trust_in_return(route.to_key, error, corner, key_lightness.shape)
    trust = (_LEAST + returns) * (_LEAST + agreement(lightness, seen))
    return Candidate(warp(prop, route.to_key, corner), seen, trust, route.to_key, error, distance)


@dataclass(frozen=True)
class Fused:
    """What the candidates say together.

    Attributes:
        weights: (H, W) float32 of each candidate.
        blend: (H, W, C) float32, their weighted mean.
        spread: (H, W, C) float32, what the sure pixels spread over all.
        confidence: (H, W) float32, 0..1.
    """

    weights: list[Image]
    blend: Image
    spread: Image
    confidence: Image

    @property
    def filled(self) -> Image:
        """(H, W, C) float32, the blend with the unsure filled from the sure."""
        return self.blend + (1 - self.confidence)[..., None] * (self.spread - self.blend)


def fuse(candidates: Sequence[Candidate], lightness: Image) -> Fused:
    """One value and one confidence a pixel.

    Args:
        candidates: at least one.
        lightness: (H, W) float32, 0..100, of the target frame.
    """
    weights = [cv2.boxFilter(np.sqrt(c.trust / c.distance), -1, (5, 5)) for c in candidates]
    total = np.sum(weights, axis=0)
    blend = (
        np.sum([w[..., None] * c.value for w, c in zip(weights, candidates, strict=True)], axis=0) / total[..., None]
    )
    # the softened trust, at whatever distance
    confidence = np.minimum(np.max([w * w * c.distance for w, c in zip(weights, candidates, strict=True)], axis=0), 1)
    return Fused(weights, blend, spread(blend, confidence, lightness), confidence)
