"""Several candidates become one picture: weights, softness, and what counts as sure."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from stpn.engine.alignment import Route, agreement, consistency
from stpn.engine.fusion import Candidate, candidate, fuse
from stpn.engine.infill import spread

Array = np.ndarray[Any, Any]
SHAPE = (24, 32)


def flat(value: float, *channels: int) -> Array:
    return np.full((*SHAPE, *channels), value, np.float32)


def noise(seed: int, *channels: int, most: float = 1.0) -> Array:
    return np.random.default_rng(seed).uniform(0, most, (*SHAPE, *channels)).astype(np.float32)


LIGHT = noise(9, most=100.0)


def told(value: Array, trust: Array, distance: int) -> Candidate:
    return Candidate(value, LIGHT, trust, flat(0, 2), flat(0, 2), distance)


def fused(candidates: list[Candidate]) -> tuple[Array, Array]:
    found = fuse(candidates, LIGHT)
    return found.filled, found.confidence


@pytest.mark.parametrize("count", [1, 2, 4])
def test_equal_and_sure_candidates_come_back(count: int) -> None:
    value = noise(0, 2, most=80.0)
    found, confidence = fused([told(value, flat(1), 1)] * count)
    assert (found.dtype, found.shape, confidence.dtype, confidence.shape) == (
        np.float32, (*SHAPE, 2), np.float32, SHAPE
    )  # fmt: skip
    np.testing.assert_allclose(found, value, rtol=1e-5, atol=1e-5)
    assert (confidence == 1).all()


def test_equal_candidates_of_one_color_come_back_however_unsure() -> None:
    found, confidence = fused([told(flat(33, 2), noise(1) ** 3, 4)] * 3)
    np.testing.assert_allclose(found, 33, rtol=1e-4)
    softened = cv2.blur(np.sqrt(noise(1).astype(np.float64) ** 3), (5, 5)) ** 2
    np.testing.assert_allclose(confidence, softened, rtol=1e-4)


def test_candidates_weigh_by_the_root_of_trust_over_distance() -> None:
    near, far = told(flat(10, 1), flat(1), 1), told(flat(40, 1), flat(0.25), 4)
    found, confidence = fused([near, far])
    weights = 1, np.sqrt(0.25 / 4)
    np.testing.assert_allclose(found, (10 * weights[0] + 40 * weights[1]) / sum(weights), rtol=1e-5)
    assert (confidence == 1).all()


def test_the_blend_is_soft_and_the_unsure_part_is_filled_in() -> None:
    candidates = [told(noise(n, 2, most=60.0), noise(n + 10), n) for n in (1, 3)]
    found, confidence = fused(candidates)
    weights = [cv2.blur(np.sqrt(c.trust.astype(np.float64) / c.distance), (5, 5)) for c in candidates]
    blend = sum(w[..., None] * c.value for w, c in zip(weights, candidates, strict=True)) / sum(weights)[..., None]
    sure = np.maximum(*(w**2 * c.distance for w, c in zip(weights, candidates, strict=True)))
    np.testing.assert_allclose(confidence, sure, rtol=1e-4)
    filled = spread(blend.astype(np.float32), sure.astype(np.float32), LIGHT)
    np.testing.assert_allclose(found, sure[..., None] * blend + (1 - sure[..., None]) * filled, rtol=1e-4, atol=1e-4)


def test_confidence_is_never_above_1() -> None:
    # full agreement gives a trust of 1.02 * 1.02
    _, confidence = fused([told(flat(1, 2), flat(1.0404), 1)])
    assert (confidence == 1).all()


def test_a_candidate_is_the_property_seen_along_the_route_and_its_trust() -> None:
    route = Route(np.broadcast_to(np.float32([2, 0]), (*SHAPE, 2)), np.broadcast_to(np.float32([-2, 0]), (*SHAPE, 2)))
    prop, key_light = noise(3, 2), noise(4, most=100.0)
    light = np.roll(key_light, -2, axis=1)
    light[5:12, 5:12] += 20
    found = candidate(prop, key_light, light, route, 7)
    assert found.distance == 7
    assert (found.value[:, :-2] == prop[:, 2:]).all()
    moved = np.concatenate([key_light[:, 2:], key_light[:, -1:], key_light[:, -1:]], axis=1)
    np.testing.assert_allclose(found.trust, (0.02 + consistency(route)) * (0.02 + agreement(light, moved)), rtol=1e-4)
    assert found.trust[15:, :20].min() > 1
    assert found.trust[8, 8] < 0.03
    assert (found.trust[:, -1:] <= 0.02 * 1.02 + 1e-6).all()


def test_a_window_of_a_candidate_is_the_candidate_seen_through_a_window() -> None:
    rng = np.random.default_rng(5)
    route = Route(*(rng.normal(0, 3, (*SHAPE, 2)).astype(np.float32) for _ in range(2)))
    prop, key_light = noise(3, 2), noise(4, most=100.0)
    whole = candidate(prop, key_light, LIGHT, route, 3)
    corner, window = (4, 7), np.s_[4:20, 7:30]
    part = candidate(prop, key_light, LIGHT[window], Route(route.to_key[window], route.to_target), 3, corner)
    for name in ("value", "lightness", "flow", "error"):
        np.testing.assert_allclose(getattr(part, name), getattr(whole, name)[window], atol=1e-4)
    # the box of the agreement sees less at the edge of the window
    np.testing.assert_allclose(part.trust[2:-2, 2:-2], whole.trust[window][2:-2, 2:-2], atol=1e-5)
    assert whole.error.any()


def test_the_error_of_a_round_trip_says_where_it_ends() -> None:
    there, back = (np.broadcast_to(np.float32(move), (*SHAPE, 2)) for move in ((3, 1), (-2, -1)))
    found = candidate(noise(3, 2), LIGHT, LIGHT, Route(there, back), 1)
    np.testing.assert_allclose(found.error, np.broadcast_to(np.float32([1, 0]), (*SHAPE, 2)), atol=1e-6)
