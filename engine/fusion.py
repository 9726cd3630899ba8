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

from stpn.engine.alignment import Route, agreement, consistency, warp
from stpn.engine.infill import spread

Image = NDArray[np.float32]

# neither sign of trust may veto a candidate alone
_LEAST = np.float32(0.02)


@dataclass(frozen=True)
class Candidate:
    """A key's property as seen from the target frame.

    Attributes:
        value: (H, W, C) float32.
        trust: (H, W) float32, 0..1: route consistent and lightness alike.
        distance: frames between key and target, at least 1.
    """

    value: Image
    trust: Image
    distance: int


def candidate(prop: Image, key_lightness: Image, lightness: Image, route: Route, distance: int) -> Candidate:
    """Brings a key's property to the target along a route and says how far to trust it.

    Args:
        prop: (H, W, C) float32, the key's property.
        key_lightness, lightness: (H, W) float32, 0..100, of the key frame and of the target frame.
        route: motion between the two.
        distance: frames between the two.
    """
    seen = agreement(lightness, warp(key_lightness, route.to_key))
    trust = (_LEAST + consistency(route)) * (_LEAST + seen)
    return Candidate(warp(prop, route.to_key), trust, distance)


def fuse(candidates: Sequence[Candidate], lightness: Image) -> tuple[Image, Image]:
    """One value and one confidence a pixel.

    Args:
        candidates: at least one.
        lightness: (H, W) float32, 0..100, of the target frame.

    Returns:
        The property (H, W, C) float32 and the confidence (H, W) float32, 0..1.
    """
    weights = [cv2.boxFilter(np.sqrt(c.trust / c.distance), -1, (5, 5)) for c in candidates]
    total = np.sum(weights, axis=0)
    blend = (
        np.sum([w[..., None] * c.value for w, c in zip(weights, candidates, strict=True)], axis=0) / total[..., None]
    )
    # the softened trust, at whatever distance
    confidence = np.minimum(np.max([w * w * c.distance for w, c in zip(weights, candidates, strict=True)], axis=0), 1)
    filled = spread(blend, confidence, lightness)
    return blend + (1 - confidence)[..., None] * (filled - blend), confidence
