"""The methods as a whole, on pictures whose true color is known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from stpn.engine.alignment import agreement
from stpn.engine.carriers import FlowCarrier, Key, NetworkCarrier

Array = np.ndarray[Any, Any]
SHAPE = (64, 96)
INSIDE = (slice(12, -12), slice(16, -16))
VELOCITY = (2.3, -0.9)


class Clip:
    """Frames 0..8 of a colored texture that moves by VELOCITY a frame."""

    def __init__(self, textures: Any) -> None:
        light, a, b = (textures(*SHAPE, seed, finest) for seed, finest in ((1, 5), (2, 9), (3, 9)))
        self.light = {n: 50 + 15 * light.moved(*np.multiply(VELOCITY, n)) for n in range(9)}
        self.color = {n: 25 * np.dstack([plane.moved(*np.multiply(VELOCITY, n)) for plane in (a, b)]) for n in range(9)}

    def keys(self, *frames: int) -> list[Key]:
        return [Key(frame, self.color[frame]) for frame in frames]

    def between(self, first: int, last: int) -> dict[int, Array]:
        return {n: self.light[n] for n in range(first, last + 1)}

    def error(self, color: Array, frame: int) -> float:
        return float(np.abs(color - self.color[frame])[INSIDE].mean())


@pytest.fixture
def clip(textures: Any) -> Clip:
    return Clip(textures)


@pytest.mark.parametrize(
    ("keys", "targets"), [((0, 8), (1, 4, 7)), ((0,), (2, 4)), ((8,), (6, 4))], ids=["both", "before", "after"]
)
def test_motion_beats_copying_by_far(clip: Clip, keys: tuple[int, ...], targets: tuple[int, ...]) -> None:
    around = (*keys, *targets)
    carrier = FlowCarrier(clip.keys(*keys), clip.between(min(around), max(around)), targets)
    for target in targets:
        color, confidence = carrier.carry(target)
        assert (color.dtype, color.shape, confidence.dtype, confidence.shape) == (
            np.float32, (*SHAPE, 2), np.float32, SHAPE
        )  # fmt: skip
        copied = min(clip.error(clip.color[key], target) for key in keys)
        assert clip.error(color, target) < 0.15 * copied
        assert confidence[INSIDE].mean() > 0.8


def test_a_target_computed_alone_has_the_same_bits(clip: Clip) -> None:
    together = FlowCarrier(clip.keys(0, 8), clip.between(0, 8), range(1, 8))
    # the other way round, so that nothing can depend on what was asked before
    whole = {frame: together.carry(frame) for frame in range(7, 0, -1)}
    with ThreadPoolExecutor(3) as pool:
        for frame in (1, 5):
            alone = FlowCarrier(clip.keys(0, 8), clip.between(0, 8), [frame], pool.map).carry(frame)
            assert [array.tobytes() for array in alone] == [array.tobytes() for array in whole[frame]]
        side_by_side = list(pool.map(together.carry, range(1, 8)))
    for frame, found in enumerate(side_by_side, start=1):
        assert [array.tobytes() for array in found] == [array.tobytes() for array in whole[frame]]


def test_what_no_key_shows_is_unsure(clip: Clip, textures: Any) -> None:
    # something else stands before the scene in the target alone
    patch = (slice(20, 44), slice(36, 64))
    other = 40 + 15 * textures(*SHAPE, 7, 4).moved(0, 0)
    clip.light[4] = clip.light[4].copy()
    clip.light[4][patch] = other[patch]
    _, confidence = FlowCarrier(clip.keys(0, 8), clip.between(0, 8), [4]).carry(4)
    around = np.ones(SHAPE, bool)
    around[14:50, 30:70] = around[:12] = around[-12:] = around[:, :16] = around[:, -16:] = False
    assert np.median(confidence[24:40, 40:60]) < 0.2
    assert confidence[around].mean() > 0.8


def test_the_nearer_key_says_more(clip: Clip) -> None:
    still = dict.fromkeys(range(9), clip.light[0])
    keys = [Key(0, np.zeros((*SHAPE, 2), np.float32)), Key(8, np.full((*SHAPE, 2), 30, np.float32))]
    carrier = FlowCarrier(keys, still, range(1, 8))
    mean = [float(carrier.carry(frame)[0].mean()) for frame in range(1, 8)]
    assert mean == sorted(mean)
    # weights go with the root of one over the distance
    assert mean[0] == pytest.approx(30 * np.sqrt(1 / 7) / (1 + np.sqrt(1 / 7)), rel=0.02)
    assert mean[3] == pytest.approx(15, rel=0.02)


@pytest.mark.parametrize("channels", [1, 3])
def test_any_number_of_channels_is_carried(clip: Clip, channels: int) -> None:
    keys = [Key(frame, np.repeat(clip.color[frame][..., :1], channels, axis=2)) for frame in (0, 2)]
    color, _ = FlowCarrier(keys, clip.between(0, 2), [1]).carry(1)
    assert color.shape == (*SHAPE, channels)
    np.testing.assert_allclose(color, np.repeat(color[..., :1], channels, axis=2), rtol=1e-5, atol=1e-4)
    assert np.abs(color[..., 0] - clip.color[1][..., 0])[INSIDE].mean() < 1


class Copying:
    """A network that carries whatever it is given to where it stands."""

    config = SimpleNamespace(halvings=2)

    def parameters(self) -> Any:
        return iter([torch.zeros(1)])

    def gates(self, key_guide: Any, target_guide: Any) -> Any:
        self.guides = key_guide, target_guide
        return None

    def carry(self, prop: Any, gates: Any) -> Any:
        return prop


@pytest.mark.parametrize(("frame", "nearest"), [(1, 0), (4, 0), (5, 8), (7, 8)])
def test_the_network_gets_the_nearest_key_and_both_guides(clip: Clip, frame: int, nearest: int) -> None:
    network: Any = Copying()
    lightness = {n: clip.light[n] for n in (0, frame, 8)}
    color, confidence = NetworkCarrier(clip.keys(0, 8), lightness, network).carry(frame)
    np.testing.assert_allclose(color, clip.color[nearest], rtol=1e-6, atol=1e-6)
    at_key, at_target = (np.clip(lightness[n], 0, 100) for n in (nearest, frame))
    for guide, light in zip(network.guides, (at_key, at_target), strict=True):
        np.testing.assert_allclose(guide.numpy()[0, 0], light / 100 - 0.5, atol=1e-6)
    seen = agreement(np.asarray(cv2.blur(at_target, (5, 5)), np.float32), at_key)
    np.testing.assert_allclose(confidence, seen, atol=1e-3)


def test_the_direct_route_mends_what_noisy_frames_between_blur(clip: Clip) -> None:
    random = np.random.default_rng(5)
    for frame in range(1, 6):
        clip.light[frame] = (clip.light[frame] + random.normal(0, 8, SHAPE)).astype(np.float32)
    color, confidence = FlowCarrier(clip.keys(0), clip.between(0, 6), [6]).carry(6)
    # the accumulated route alone: 0.09 and 0.68
    assert clip.error(color, 6) < 0.06 * clip.error(clip.color[0], 6)
    assert confidence[INSIDE].mean() > 0.85
