"""What is mixed at the working size, sampled at the size of the plate."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from stpn.engine import aligned
from stpn.engine.alignment import Route, estimate_flow, estimate_quickly, refine_quickly, warp
from stpn.engine.carriers import AlignedCarrier, FlowCarrier, Key
from stpn.engine.full_size import FullSizeCarrier, at_full_size, full_size_keys
from stpn.engine.mixture import Mixture
from stpn.engine.routes import guide8
from stpn.engine.weights import load_aligned, shipped
from stpn.engine.working_size import reduced, working_factor

Array = np.ndarray[Any, Any]


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "factor"),
    [
        ((288, 512), 1),
        ((540, 959), 1),
        ((1080, 1920), 3),
        ((1920, 1080), 3),
        ((1440, 2560), 3),
        ((2160, 3840), 4),
        ((2160, 4096), 4),
        ((3160, 6144), 6),
    ],
)
def test_the_working_size_follows_the_long_side(size: tuple[int, int], factor: int) -> None:
    assert working_factor(*size) == factor


@pytest.mark.parametrize("shape", [(12, 18), (13, 17), (13, 17, 2), (5, 3, 7)])
def test_a_reduced_picture_is_the_mean_of_its_areas(shape: tuple[int, ...]) -> None:
    image = noise(*shape)
    rows, columns = -shape[0] % 3, -shape[1] % 3
    whole = np.pad(image, ((0, rows), (0, columns), *[(0, 0)] * (len(shape) - 2)), mode="edge").astype(np.float64)
    areas = whole.reshape(whole.shape[0] // 3, 3, whole.shape[1] // 3, 3, *shape[2:]).mean(axis=(1, 3))
    assert reduced(image, 3).shape == areas.shape
    assert np.abs(reduced(image, 3) - areas).max() < 1e-6
    assert reduced(image, 1) is image


def by_definition(mixture: Mixture, keys: Array, lightness: Array, factor: int, sample: Any) -> tuple[Array, Array]:
    """`at_full_size` in float64, plane by plane."""
    height, width = lightness.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float64)

    def full(plane: Array) -> Array:
        return np.asarray(sample(plane, (columns + 0.5) / factor - 0.5, (rows + 0.5) / factor - 0.5))

    total: Any = 0.0
    summed: Any = 0.0
    for key, flow, weight in zip(mixture.keys, mixture.flows, mixture.weights, strict=True):
        x = np.clip(columns + factor * full(flow[..., 0]), 0, width - 1)
        y = np.clip(rows + factor * full(flow[..., 1]), 0, height - 1)
        seen = sample(keys[key], x, y)
        counts = full(weight) / (1 + ((seen[..., -1] - lightness) / 5) ** 2)
        total, summed = total + counts, summed + counts[..., None] * seen[..., :-1]
    mean = summed / total[..., None]
    return mean + full(mixture.unsure)[..., None] * (full(mixture.fill) - mean), full(mixture.confidence)


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
@pytest.mark.parametrize(("size", "factor"), [((47, 71), 3), ((40, 64), 2), ((9, 130), 5), ((33, 20), 1), ((1, 1), 2)])
def test_every_pixel_is_as_defined(size: tuple[int, int], factor: int, channels: int, sample_by_hand: Any) -> None:
    small = -(-size[0] // factor), -(-size[1] // factor)
    keys = full_size_keys([(10 * noise(*size, channels, seed=k), 50 + 10 * noise(*size, seed=9 + k)) for k in range(2)])
    mixture = Mixture(
        [0, 0, 1],
        3 * noise(3, *small, 2, seed=1),
        np.abs(noise(3, *small, seed=2)) + np.float32(0.01),
        noise(*small, channels, seed=3),
        np.abs(np.tanh(noise(*small, seed=4))),
        np.abs(np.tanh(noise(*small, seed=5))),
    )
    lightness = 50 + 10 * noise(*size, seed=6)
    values, confidence = at_full_size(mixture, keys, lightness, factor)
    expected, sure = by_definition(mixture, keys, lightness, factor, sample_by_hand)
    assert (values.dtype, values.shape, confidence.dtype, confidence.shape) == (
        np.float32, (*size, channels), np.float32, size
    )  # fmt: skip
    assert np.abs(values - expected).max() < 2e-3
    assert np.abs(confidence - sure).max() < 1e-5


def test_bands_side_by_side_change_no_bit() -> None:
    size, factor = (200, 90), 3
    small = 67, 30
    keys = full_size_keys([(noise(*size, 2), noise(*size, seed=1))])
    weights = np.ones((1, *small), np.float32)
    mixture = Mixture([0], noise(1, *small, 2, seed=2), weights, noise(*small, 2), weights[0] / 3, weights[0])
    alone = at_full_size(mixture, keys, noise(*size, seed=7), factor)
    with ThreadPoolExecutor(3) as pool:
        together = at_full_size(mixture, keys, noise(*size, seed=7), factor, pool.map)
    assert [array.tobytes() for array in alone] == [array.tobytes() for array in together]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, 1e30])
def test_a_broken_flow_reads_nothing_outside_the_key(broken: float) -> None:
    size, factor = (20, 30), 2
    small = 10, 15
    flows = np.full((1, *small, 2), broken, np.float32)
    keys = full_size_keys([(np.full((*size, 2), 7, np.float32), np.full(size, 50, np.float32))])
    one = np.ones((1, *small), np.float32)
    mixture = Mixture([0], flows, one, np.zeros((*small, 2), np.float32), 0 * one[0], one[0])
    with np.errstate(over="ignore"):
        values, _ = at_full_size(mixture, keys, np.full(size, 50, np.float32), factor)
    assert np.all(values == 7)


class Scene:
    """A colored texture that moves, at full size, and at half."""

    size, factor, frames, targets = (160, 240), 2, range(9), (1, 4, 7)

    def __init__(self, textures: Any) -> None:
        light, a, b = (textures(*self.size, seed, finest) for seed, finest in ((1, 6), (2, 9), (3, 9)))
        self.light = {n: (50 + 15 * light.moved(2.3 * n, -0.9 * n)).astype(np.float32) for n in self.frames}
        self.color = {
            n: (25 * np.dstack([plane.moved(2.3 * n, -0.9 * n) for plane in (a, b)])).astype(np.float32)
            for n in self.frames
        }
        self.small = {n: reduced(light, self.factor) for n, light in self.light.items()}
        self.keys = [Key(n, self.color[n]) for n in (0, 8)]
        self.small_keys = [Key(key.frame, reduced(key.prop, self.factor)) for key in self.keys]

    def at_full_size(self, mixing: Any) -> FullSizeCarrier:
        packed = full_size_keys([(key.prop, self.light[key.frame]) for key in self.keys])
        return FullSizeCarrier(mixing, packed, self.light.__getitem__, self.factor)

    def error(self, color: Array, frame: int) -> float:
        return float(np.abs(color - self.color[frame])[24:-24, 32:-32].mean())


@pytest.fixture(scope="module")
def scene(textures: Any) -> Scene:
    return Scene(textures)


@pytest.mark.parametrize("network", [False, True], ids=["flow", "aligned"])
def test_motion_at_half_the_size_is_nearly_as_good(scene: Scene, network: bool) -> None:
    made: dict[str, Any] = {"network": load_aligned(shipped("aligned"))} if network else {}
    kind = AlignedCarrier if network else FlowCarrier
    small = scene.at_full_size(kind(scene.small_keys, scene.small, scene.targets, quickly=True, **made))
    large = kind(scene.keys, scene.light, scene.targets, **made)
    for frame in scene.targets:
        color, confidence = small.carry(frame)
        copied = min(scene.error(key.prop, frame) for key in scene.keys)
        assert scene.error(color, frame) < scene.error(large.carry(frame)[0], frame) + 0.08 * copied
        assert scene.error(color, frame) < 0.1 * copied
        assert confidence[24:-24, 32:-32].mean() > 0.5


def test_a_target_computed_alone_has_the_same_bits(scene: Scene) -> None:
    network = load_aligned(shipped("aligned"))
    args: dict[str, Any] = {"network": network, "quickly": True}
    together = scene.at_full_size(AlignedCarrier(scene.small_keys, scene.small, scene.targets, **args))
    whole = {frame: together.carry(frame) for frame in reversed(scene.targets)}
    alone = scene.at_full_size(AlignedCarrier(scene.small_keys, scene.small, [4], **args)).carry(4)
    assert [array.tobytes() for array in alone] == [array.tobytes() for array in whole[4]]


def test_mixed_at_its_own_size_it_is_what_the_method_gives(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aligned, "MIXED_LONG_SIDE", aligned.LONG_SIDE)
    for carrier in (
        FlowCarrier(scene.keys, scene.light, [4]),
        AlignedCarrier(scene.keys, scene.light, [4], load_aligned(shipped("aligned"))),
    ):
        (mixture,) = carrier.mixtures([4])
        values = np.zeros_like(mixture.fill)
        for key, flow, weight in zip(mixture.keys, mixture.flows, mixture.weights, strict=True):
            values += (weight / mixture.weights.sum(axis=0))[..., None] * warp(scene.keys[key].prop, flow)
        values += mixture.unsure[..., None] * (mixture.fill - values)
        given, confidence = carrier.carry(4)
        assert np.abs(values - given).max() < 0.02
        assert np.abs(mixture.confidence - confidence).max() < 1e-5


def test_quick_motion_finds_what_the_slow_one_finds(scene: Scene) -> None:
    first, second = guide8(scene.light[0]), guide8(scene.light[2])
    inside = np.s_[24:-24, 32:-32]
    quick, slow = estimate_quickly(first, second), estimate_flow(first, second)
    assert np.abs(quick - slow)[inside].mean() < 0.1
    start = Route(np.full((*scene.size, 2), 3, np.float32), np.full((*scene.size, 2), -3, np.float32))
    refined = refine_quickly(start, second, first)
    assert np.abs(refined.to_key - [-4.6, 1.8])[inside].mean() < 0.2
    assert np.abs(refined.to_target - [4.6, -1.8])[inside].mean() < 0.5
    tiny = np.zeros((20, 40), np.uint8)
    assert not estimate_quickly(tiny, tiny).any()
    assert refine_quickly(start, tiny, tiny).to_key is start.to_key
