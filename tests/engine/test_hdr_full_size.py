"""HDR of large plates: motion and network at the working size, light at the size of the plate."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.carriers import Key
from stpn.engine.properties.clipping import blindness_of
from stpn.engine.properties.hdr import UNIT, HdrCarrier
from stpn.engine.properties.hdr_full_size import TwoSizes
from stpn.engine.properties.response import Response
from stpn.engine.weights import load_aligned, shipped
from stpn.engine.working_size import reduced

Array = np.ndarray[Any, Any]
SHAPE, FACTOR, FRAMES = (161, 242), 2, range(9)
CURVE = (np.array([0, 0.1, 0.3, 0.7, 1], np.float32), np.array([0, 0.02, 0.07, 0.5, 1.25], np.float32))


class Scene:
    """A texture with a lamp beyond white, both moving, as light and as code values of 8 bits."""

    def __init__(self, textures: Any, exposures: Array) -> None:
        self._texture = textures(*SHAPE, 1, 5)
        self.light = {n: self._lit(n) for n in FRAMES}
        self.ldr = {n: self._codes(light * np.float32(2 ** exposures[n]), n) for n, light in self.light.items()}
        self.keys = [Key(n, self.light[n]) for n in (0, 8)]

    def _lit(self, n: int) -> Array:
        x, y = 2.3 * n, -0.9 * n
        base = 0.2 * np.exp(0.4 * self._texture.moved(x, y))
        down, right = np.mgrid[: SHAPE[0], : SHAPE[1]]
        lamp = 20 * np.exp(-((np.hypot(right - 100 - x, down - 90 - y) / 14) ** 2)) * (1.2 + np.sin(0.4 * (right - x)))
        return np.dstack([base + lamp, 0.9 * base + 0.8 * lamp, 0.8 * base + 0.3 * lamp]).astype(np.float32)

    @staticmethod
    def _codes(light: Array, n: int) -> Array:
        noise = np.random.default_rng(n).normal(0, 0.6, light.shape)
        code = np.clip(np.rint(255 * np.clip(light, 0, 1) ** (1 / 2.2) + noise), 0, 255)
        return (code / 255).astype(np.float32)

    def carrier(self, factor: int = FACTOR, targets: Any = range(1, 8), **more: Any) -> HdrCarrier:
        return HdrCarrier(self.keys, self.ldr, targets, factor=factor, **more)

    def clipped(self, n: int) -> Array:
        return np.asarray(self.ldr[n].max(axis=2) >= 254 / 255)

    def error(self, radiance: Array, n: int) -> float:
        off = np.abs(np.log(np.maximum(radiance, 0) + 0.01) - np.log(self.light[n] + 0.01))
        return float(off[self.clipped(n)].mean())


@pytest.fixture(scope="module")
def scene(textures: Any) -> Scene:
    return Scene(textures, np.zeros(len(FRAMES)))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def response(**more: Any) -> Response:
    return Response(**{"level": 1.0, "clip": 1.2, "stops": {0: 0.0, 8: 0.5}, "curves": (CURVE,) * 3, **more})


def codes(*shape: int) -> Array:
    """Some beyond the ends of the curve, some at its knots."""
    picture = np.random.default_rng(0).uniform(-0.1, 1.1, (*shape, 3)).astype(np.float32)
    picture[:2, :5] = CURVE[0][:, None]
    return picture


def test_light_is_found_to_the_last_bit() -> None:
    picture, camera = codes(70, 90), response()
    carried, confidence = np.zeros_like(picture), np.zeros((70, 90), np.float32)
    found, sure = TwoSizes(camera, {3: picture}, None, 3).joined(3, carried, confidence)
    known = picture < 0.95
    assert (found[known] == camera.inverse(picture, 3)[known]).all()
    assert (sure[known.all(axis=2)] == 1).all()


@pytest.mark.parametrize("known", [False, True])
def test_what_is_joined_is_as_at_one_size(scene: Scene, known: bool) -> None:
    light = {n: ldr**2.2 for n, ldr in scene.ldr.items()} if known else None
    made = scene.carrier(targets=[4], known=light)
    carried, _ = made.propagated(4)
    radiance, confidence = made.carry(4)
    expected = made.joined(4, carried)
    outside = scene.ldr[4].max(axis=2) < 0.95
    assert (radiance[outside] == expected[outside]).all()
    assert (confidence[outside] == 1).all()
    np.testing.assert_allclose(radiance, expected, rtol=1e-5)
    assert scene.error(radiance, 4) < 0.1


@pytest.mark.parametrize("size", [(70, 90), (131, 64), (7, 5)])
def test_a_reduced_pixel_clips_as_much_as_its_area(size: tuple[int, int]) -> None:
    picture, camera = codes(*size), response()
    sizes = TwoSizes(camera, {3: picture}, None, 3)
    light, share = sizes.reduced(3)
    assert light.shape == share.shape == (-(-size[0] // 3), -(-size[1] // 3))
    np.testing.assert_allclose(share, reduced(camera.clipped(picture).astype(np.float32), 3), atol=1e-3)
    shown, blind = sizes.shown(3)
    np.testing.assert_allclose(shown, reduced(camera.to_log(camera.inverse(picture, 3)), 3), atol=1e-6)
    np.testing.assert_allclose(blind, reduced(blindness_of(picture), 3), atol=1e-6)


def test_what_clips_is_equally_light_at_every_exposure() -> None:
    """Frame 8 got half a stop more, so its brightest pixels may be darker than those of frame 0."""
    white = np.ones((6, 7, 3), np.float32)
    sizes = TwoSizes(response(), {0: white, 8: white, 4: 0.5 * white}, None, 3)
    assert (sizes.lightness(0) == sizes.lightness(8)).all()
    assert (sizes.lightness(4) < sizes.lightness(0) - 5).all()


@pytest.mark.parametrize("aligned", [False, True], ids=["flow", "aligned"])
def test_motion_at_half_the_size_is_nearly_as_good(scene: Scene, aligned: bool) -> None:
    more = {"network": load_aligned(shipped("hdr"))} if aligned else {}
    small, large = scene.carrier(**more), scene.carrier(1, **more)
    for mine, theirs in zip(small.response.curves or (), large.response.curves or (), strict=True):
        assert [knots.tobytes() for knots in mine] == [knots.tobytes() for knots in theirs]
    assert (small.response.stops, small.response.clip) == (large.response.stops, large.response.clip)
    for n in (1, 4):
        radiance, confidence = small.carry(n)
        shown = scene.error(np.minimum(scene.light[n], 1), n)
        assert scene.error(radiance, n) < scene.error(large.carry(n)[0], n) + 0.02 * shown
        assert scene.error(radiance, n) < 0.1 * shown
        outside = scene.ldr[n].max(axis=2) < 0.95
        assert (radiance[outside] == small.response.inverse(scene.ldr[n], n)[outside]).all()
        assert (confidence[outside] == 1).all()
        assert (radiance >= 0.999 * small.response.inverse(scene.ldr[n], n) - 1e-4).all()
        assert radiance.max() > 20


def test_a_camera_that_changes_its_exposure(textures: Any) -> None:
    scene = Scene(textures, np.linspace(0, -0.8, len(FRAMES)))
    radiance, _ = scene.carrier().carry(4)
    assert scene.error(radiance, 4) < 0.1 * scene.error(np.minimum(scene.light[4], 1), 4)


@pytest.mark.parametrize("aligned", [False, True], ids=["flow", "aligned"])
def test_a_frame_alone_is_the_frame_among_others(scene: Scene, aligned: bool) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"candidate_channels": 4, "widths": (8, 8, 8, 8), "match_channels": 4}
    small = AlignedFusion(AlignedConfig(channels=3, unit=UNIT, observed=True, **sizes)).eval()
    more = {"network": small} if aligned else {}
    frames = (1, 2, 5)
    with ThreadPoolExecutor(3) as pool, ThreadPoolExecutor(2) as inner:
        together = scene.carrier(within=inner.map, parallel=pool.map, **more)
        made = dict(zip(frames, pool.map(together.carry, frames), strict=True))
    alone = {5: scene.carrier(targets=(5,), **more).carry(5)}
    alone |= dict(zip((1, 2), scene.carrier(targets=(1, 2), **more).carry_batch([1, 2]), strict=True))
    for n in frames:
        assert [array.tobytes() for array in alone[n]] == [array.tobytes() for array in made[n]]


def test_motion_alone_fills_nothing(scene: Scene) -> None:
    made = scene.carrier(targets=[4])
    (mixture,) = made._carrier._mixing.mixtures([4])
    assert not mixture.unsure.any()
    assert mixture.confidence.min() < 0.9


class Watched(Mapping[int, Array]):
    """Gives a new picture whenever one is asked for, and knows which are still there."""

    def __init__(self, pictures: Mapping[int, Array]) -> None:
        self._pictures, self._given, self.asked = pictures, list[Any](), list[int]()
        self.most = 0

    def __getitem__(self, n: int) -> Array:
        picture = self._pictures[n].copy()
        self.asked.append(n)
        self._given.append(weakref.ref(picture))
        self.most = max(self.most, self.alive)
        return picture

    @property
    def alive(self) -> int:
        return sum(given() is not None for given in self._given)

    def __iter__(self) -> Iterator[int]:
        return iter(self._pictures)

    def __len__(self) -> int:
        return len(self._pictures)


def test_no_frame_of_the_span_is_kept_as_large_as_it_is(scene: Scene) -> None:
    watched = Watched(scene.ldr)
    made = HdrCarrier(scene.keys, watched, range(1, 8), factor=FACTOR)
    assert sorted(watched.asked) == list(FRAMES)
    assert watched.most <= 3
    assert watched.alive == 0
    for n in (1, 4, 7):
        made.carry(n)
        assert watched.alive == 0
    assert watched.asked[len(FRAMES) :] == [1, 4, 7]
