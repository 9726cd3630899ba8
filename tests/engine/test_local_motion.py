"""Motion in regions that show nothing, from what is around them."""

from __future__ import annotations

from typing import Any

import numpy as np

from stpn.engine.alignment import Route
from stpn.engine.local_motion import blindness, bridged, fitted

SHAPE = (96, 128)


def affine() -> Any:
    down, right = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    return np.dstack([2 + 0.03 * right - 0.01 * down, -1 + 0.02 * down]).astype(np.float32)


def test_an_affine_motion_is_found_through_a_hole_and_past_a_stranger() -> None:
    truth = affine()
    flow, weight = truth.copy(), np.ones(SHAPE, np.float32)
    flow[40:60, 50:70], weight[40:60, 50:70] = 99, 0
    flow[30:40, 20:30] += 12  # something else passes by
    found = fitted(flow, weight, 12)
    assert np.abs(found - truth)[42:58, 52:68].max() < 0.2


def test_without_anything_that_tells_there_is_no_nonsense() -> None:
    found = fitted(affine(), np.zeros(SHAPE, np.float32), 12)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 10


def test_only_blind_regions_are_bridged(textures: Any) -> None:
    light = (50 + 20 * textures(*SHAPE, 1, 3).moved(0, 0)).astype(np.float32)
    clipped = np.zeros(SHAPE, bool)
    clipped[40:60, 50:70] = True
    truth = affine()
    flow = truth.copy()
    flow[40:60, 50:70] = 0
    route = Route(flow, -flow)
    seen = blindness(light, clipped)
    made = bridged(route, seen, seen)
    assert np.abs(made.to_key - truth)[45:55, 55:65].max() < 0.5
    assert np.abs(made.to_target + truth)[45:55, 55:65].max() < 0.5
    assert (made.to_key[:25] == flow[:25]).all()
    untouched = bridged(route, (np.zeros(SHAPE, np.float32), seen[1]), (np.zeros(SHAPE, np.float32), seen[1]))
    assert (untouched.to_key == flow).all()
