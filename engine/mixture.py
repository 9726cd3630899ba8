"""What a frame is mixed of: where each key is seen, how much it counts there, and what fills the unsure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stpn.engine.fusion import Candidate, Fused

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Mixture:
    """One frame, at the size at which motion is estimated.

    Attributes:
        keys: the index of the key of each of N candidates.
        flows: (N, h, w, 2) float32, pixels: target -> key.
        weights: (N, h, w) float32, at least 0, not all 0.
        fill: (h, w, C) float32, what takes the place of the weighted mean where that is unsure.
        unsure: (h, w) float32, 0..1: how far it does.
        confidence: (h, w) float32, 0..1.
    """

    keys: Sequence[int]
    flows: Image
    weights: Image
    fill: Image
    unsure: Image
    confidence: Image


class Mixing(Protocol):
    """Says what frames are mixed of; safe to call from several threads."""

    def mixtures(self, frames: Sequence[int]) -> list[Mixture]:
        """One for each frame."""


def mixed_by_hand(candidates: Sequence[Sequence[Candidate]], fused: Fused) -> Mixture:
    """What the candidates say without learning.

    Args:
        candidates: the routes of each key.
        fused: of them, in the same order.
    """
    keys, flows = keys_and_flows(candidates)
    return Mixture(keys, flows, np.stack(fused.weights), fused.spread, 1 - fused.confidence, fused.confidence)


def keys_and_flows(candidates: Sequence[Sequence[Candidate]]) -> tuple[list[int], Image]:
    """Of each candidate the index of its key and the flow there, (N, h, w, 2)."""
    keys = [k for k, routes in enumerate(candidates) for _ in routes]
    return keys, np.stack([one.flow for routes in candidates for one in routes])
