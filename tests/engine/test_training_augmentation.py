"""Pairs and what is done to them: seeds decide, guides change alone, what moves agrees exactly."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stpn.engine.network import NetworkConfig, SwitchableTPN
from stpn.engine.training.augmentation import (
    Occluder,
    compressed,
    exposed,
    grainy,
    occluded,
    random_occluder,
    recolored,
)
from stpn.engine.training.color_task import EPSILON, ColorOptions, ColorTask, log_error
from stpn.engine.training.pairs import clip_pair, photo_pair, random_gap, similarity
from stpn.engine.training.recipe import Stage

Array = np.ndarray[Any, Any]


def picture(shift: int = 0) -> Array:
    y, x = np.mgrid[0:96, 0:128].astype(np.float32)
    x = x - shift
    waves = [np.sin(x / 7) + np.cos(y / 9), np.sin((x + y) / 11), np.cos(x / 13) * np.sin(y / 5)]
    return np.clip(127 + 60 * np.dstack(waves), 0, 255).astype(np.uint8)


@pytest.fixture
def clips() -> list[Array]:
    return [np.stack([picture(2 * t) for t in range(12)])]


def random(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_pairs_follow_from_the_seed(clips: list[Array]) -> None:
    for draw in (lambda rng: photo_pair([picture()], rng, 48), lambda rng: clip_pair(clips, rng, 48)):
        first, again, other = (draw(random(seed)) for seed in (5, 5, 6))
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert not np.array_equal(first[0], other[0])
        assert not np.array_equal(first[0], first[1])
        assert all(view.shape == (48, 48, 3) and view.dtype == np.float32 for view in first)


def test_two_equal_frames_give_two_equal_views(clips: list[Array]) -> None:
    first, second = recolored(clip_pair([np.repeat(clips[0][:1], 12, axis=0)], random(3), 48), random(4))
    np.testing.assert_array_equal(first, second)


def test_similarities_stay_in_the_papers_ranges() -> None:
    shape, centre, size = (200, 300), (120.0, 90.0), 64
    for seed in range(200):
        matrix = similarity(shape, centre, size, random(seed))
        scale = np.hypot(*matrix[0, :2])
        angle = np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))
        shift = matrix @ [*centre, 1] - size / 2
        assert 0.9 <= scale <= 1.1
        assert abs(angle) <= 15
        assert np.abs(shift).max() <= 0.1 * 200 + 1e-9


def test_near_frames_come_more_often_under_a_power() -> None:
    rng = random()
    even, near = ([random_gap(40, power, rng) for _ in range(4000)] for power in (1.0, 2.0))
    for gaps in (even, near):
        assert (min(gaps), max(gaps)) == (1, 40)
    assert np.mean(even) == pytest.approx(20.5, abs=0.6)
    # the mean of floor(40 u^2) + 1
    assert np.mean(near) == pytest.approx(40 / 3 + 0.5, abs=0.6)
    assert random_gap(1, 1.5, rng) == 1


def test_recoloring_turns_hue_and_keeps_lightness_order() -> None:
    pair = photo_pair([picture()], random(1), 48)
    before = [view.copy() for view in pair]
    first, _ = recolored(pair, random(8))
    assert all(np.array_equal(a, b) for a, b in zip(pair, before, strict=True)), "what comes in stays as it is"
    mirrored = not np.array_equal(np.argsort(first[20, :, 0]), np.argsort(pair[0][20, :, 0]))
    there = pair[0][:, ::-1] if mirrored else pair[0]
    length, longer = (np.hypot(view[..., 1], view[..., 2]) for view in (there, first))
    ratio = (longer / length)[length > 5]
    assert ratio.std() < 1e-4
    assert 0.5 <= ratio.mean() <= 1.5
    assert np.abs(first[..., 1:] - there[..., 1:]).max() > 1


def test_exposure_is_that_of_light() -> None:
    lightness = np.array([[0, 4, 8, 30, 50, 76.0693, 90, 100]], np.float32)
    brighter = exposed(lightness, 1.0)
    # L 50 is Y 0.18419, twice that is L 66 * 2^(1/3) - 16; L 4 is on the straight part
    assert brighter[0, 4] == pytest.approx(67.1548, abs=1e-3)
    assert brighter[0, 1] == pytest.approx(8, abs=0.01)
    assert brighter[0, 5] == pytest.approx(100, abs=0.01)
    assert brighter[0, 6:].tolist() == [100, 100]
    np.testing.assert_allclose(exposed(brighter, -1.0)[0, :5], lightness[0, :5], atol=0.02)
    np.testing.assert_allclose(exposed(lightness, 0.0), lightness, atol=1e-3)


def test_grain_is_as_strong_as_asked_in_the_middle_and_absent_in_black_and_white() -> None:
    tones = [np.full((200, 200), tone, np.float32) for tone in (0, 50, 90, 100)]
    black, middle, bright, white = (grainy(tone, 3.0, random(1)) for tone in tones)
    assert middle.std() == pytest.approx(3.0, rel=0.05)
    assert bright.std() == pytest.approx(3.0 * 0.6, rel=0.05)
    assert (black.std(), white.std()) == (0, 0)
    assert middle.mean() == pytest.approx(50, abs=0.1)
    neighbours = np.corrcoef(middle[:, 1:].ravel(), middle[:, :-1].ravel())[0, 1]
    assert neighbours > 0.4, "grain is larger than a pixel"


def test_compression_is_nearer_at_higher_quality() -> None:
    lightness = cv2.cvtColor(picture().astype(np.float32) / 255, cv2.COLOR_BGR2LAB)[..., 0]
    low, high = (np.abs(compressed(lightness, quality) - lightness).mean() for quality in (10, 95))
    assert 0 < high < 0.5 < low < 8


def test_an_occluder_agrees_exactly_where_it_was_moved_to() -> None:
    pair = photo_pair([picture()], random(1), 64)
    occluder = random_occluder(picture(31), 64, random(2))
    first, second = occluded(pair, occluder)
    whole = occluder.cover == 1
    assert whole.mean() > 0.15
    rows, columns = np.nonzero(whole)
    seen = []
    for view, (top, left) in zip((first, second), occluder.places, strict=True):
        y, x = rows + top, columns + left
        inside = (y >= 0) & (y < 64) & (x >= 0) & (x < 64)
        np.testing.assert_array_equal(view[y[inside], x[inside]], occluder.texture[rows[inside], columns[inside]])
        seen.append(inside)
    assert (seen[0] & seen[1]).any(), "this seed shows it in both"
    assert occluder.places[0] != occluder.places[1]
    away = np.ones((64, 64), bool)
    top, left = occluder.places[0]
    away[max(top, 0) : max(top + len(whole), 0), max(left, 0) : max(left + len(whole), 0)] = False
    np.testing.assert_array_equal(first[away], pair[0][away])


def test_an_occluder_has_a_soft_edge_and_nothing_at_its_border() -> None:
    for seed in range(20):
        cover = random_occluder(picture(), 64, random(seed)).cover
        assert cover.min() == 0
        assert cover.max() == 1
        assert ((cover > 0) & (cover < 1)).any()
        assert max(cover[0].max(), cover[-1].max(), cover[:, 0].max(), cover[:, -1].max()) < 0.5


def test_an_occluder_may_lie_outside() -> None:
    view = np.zeros((10, 10, 3), np.float32)
    square = Occluder(np.ones((4, 4, 3), np.float32), np.ones((4, 4), np.float32), ((-2, -2), (20, 3)))
    first, second = occluded((view, view), square)
    assert first.sum() == 2 * 2 * 3
    assert second.sum() == 0


@pytest.mark.parametrize("option", ["exposure", "grain", "jpeg"])
def test_guides_change_and_properties_stay(clips: list[Array], option: str) -> None:
    stage, network = Stage("vd", 1, 4, 48), SwitchableTPN(NetworkConfig(2, 1, 8, 2, 1, (8, 12)))
    plain, changed = (
        ColorTask(1, network, {"vd": ColorOptions("clips", **options)}, {"clips": clips}).batch(stage, 0)
        for options in ({}, {option: 1.0})
    )
    # only the first sample: after it, the drawn numbers differ in how many there were
    for name in ("key_property", "target_property"):
        assert torch.equal(plain[name], changed[name])
    guides = [(plain[name] - changed[name]).abs().max() for name in ("key_guide", "target_guide")]
    assert max(guides) > 0.003


def test_relative_error_counts_each_sample_alike() -> None:
    truth = torch.zeros(2, 2, 4, 4)
    output = torch.stack([torch.full((2, 4, 4), 0.5), torch.full((2, 4, 4), 0.05)])
    before = (np.log(0.5**2 + EPSILON) + np.log(0.05**2 + EPSILON)) / 2
    assert float(log_error(output, truth)) == pytest.approx(before, rel=1e-5)
    gains = [
        float(log_error(output * torch.tensor(scale)[:, None, None, None], truth)) for scale in ((0.5, 1.0), (1.0, 0.5))
    ]
    assert gains == pytest.approx([before - np.log(2)] * 2, abs=0.02), "half the error is as much gain in the easy one"
    assert float(log_error(truth, truth)) == pytest.approx(np.log(EPSILON), rel=1e-5)
