"""Cuts and flashes: what is one, what is not, and that a decision depends on the frames around it alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stpn.engine.cuts import SIDE, WINDOW, Findings, cut_guide, search, unlikeness

Array = np.ndarray[Any, Any]
SIZE = (72, SIDE)


def found(pictures: Sequence[Array]) -> Findings:
    """What is found in luminances, frames numbered from 0."""
    guides = [cut_guide(picture) for picture in pictures]
    return search(range(len(guides)), lambda frame: guides[frame] if 0 <= frame < len(guides) else None)


@pytest.fixture(scope="module")
def scene(textures: Any) -> Any:
    """Frames of a scene by its number: luminance (H, W), moving by (right, down) pixels a frame."""

    def frames(number: int, count: int, right: float = 1.0, down: float = 0.5) -> list[Array]:
        texture = textures(*SIZE, seed=number, finest=16.0)
        return [np.exp(0.6 * texture.moved(right * t, down * t) - 1.5).astype(np.float32) for t in range(count)]

    return frames


def test_the_guide_holds_every_exposure() -> None:
    light = np.array([[-1.0, 0.0, 0.18, 1.0, 20.0, 1000.0, 1e6, np.inf, np.nan, -np.inf]], np.float32)
    guide = cut_guide(light)
    assert guide.dtype == np.uint8
    assert guide[0].tolist() == [0, 0, 54, 93, 163, 255, 255, 255, 0, 0]
    # a stop is 16 levels wherever the picture lies
    stops = cut_guide(np.array([[0.5, 1, 2, 4, 8, 16, 32]], np.float32))[0].astype(int)
    assert all(16 <= b - a <= 17 for a, b in pairwise(stops))


def test_a_cut_is_found_where_it_is(scene: Any) -> None:
    for place in (1, 4, 7):
        assert found([*scene(1, place), *scene(2, 8 - place)]) == Findings((place,), ())
    assert found([*scene(1, 3), *scene(2, 3), *scene(3, 4)]).cuts == (3, 6)


def test_fast_motion_is_no_cut(scene: Any) -> None:
    assert found(scene(1, 8, right=12, down=5)) == Findings((), ())


@pytest.mark.parametrize("stops", [-3, -1, 1, 3])
def test_a_change_of_exposure_is_no_cut(scene: Any, stops: int) -> None:
    frames = scene(1, 8)
    assert found([*frames[:4], *(frame * 2.0**stops for frame in frames[4:])]) == Findings((), ())


@pytest.mark.parametrize("length", [1, 2])
@pytest.mark.parametrize("kind", ["white", "black", "brighter", "another picture"])
def test_a_flash_is_no_cut_but_is_told(scene: Any, kind: str, length: int) -> None:
    frames, other = scene(1, 10), scene(2, 2)
    for place in range(4, 4 + length):
        frames[place] = {
            "white": np.full(SIZE, 1.0, np.float32),
            "black": np.zeros(SIZE, np.float32),
            "brighter": frames[place] * 4,
            "another picture": other[place - 4],
        }[kind]
    assert found(frames) == Findings((), tuple(range(4, 4 + length)))


def test_odd_frames_between_two_shots_belong_to_the_first(scene: Any) -> None:
    black, white = np.zeros(SIZE, np.float32), np.ones(SIZE, np.float32)
    first, second = scene(1, 4), scene(2, 5)
    for between in ([black], [white], scene(3, 1), [black] * 2, [black] * 6):
        assert found([*first, *between, *second]) == Findings((4 + len(between),), ())
    # a flash right after a cut hides neither
    assert found([*first, second[0], white, *second[2:]]) == Findings((4,), (5,))


@pytest.mark.parametrize("power", [1.0, 2.2])
def test_a_fade_is_no_cut(scene: Any, power: float) -> None:
    frames = scene(1, 20)
    weights = np.clip(1 - np.arange(20) / 12, 0, 1) ** power
    faded = [frame * np.float32(weight) for frame, weight in zip(frames, weights, strict=True)]
    assert found(faded).cuts == ()
    assert found(faded[::-1]).cuts == ()


def test_nothing_is_told_of_pictures_too_small_for_motion(scene: Any) -> None:
    pictures = [frame[:20, :20] for frame in (*scene(1, 3), *scene(2, 3))]
    assert found(pictures) == Findings((), ())


def test_unlikeness(scene: Any) -> None:
    (a, b), (c, _) = ([cut_guide(frame) for frame in scene(number, 2)] for number in (1, 2))
    assert unlikeness(a, a) == 0
    assert unlikeness(a, b) < 0.2
    assert unlikeness(a, c) > 0.35
    assert unlikeness(a, c) == pytest.approx(unlikeness(c, a))


def test_a_decision_depends_on_the_frames_around_it_alone(scene: Any) -> None:
    white = np.ones(SIZE, np.float32)
    frames = [*scene(1, 5), *scene(2, 4), white, *scene(2, 9)[5:], *scene(3, 5)]
    guides = dict(enumerate(map(cut_guide, frames)))
    whole = search(range(len(frames)), guides.get)
    assert whole == Findings((5, 14), (9,))
    for frame in range(1, len(frames)):
        asked = set()

        def guide(number: int, asked: set[int] = asked) -> Any:
            asked.add(number)
            return guides.get(number)

        alone = search((frame - 1, frame), guide)
        assert alone.cuts == tuple(cut for cut in whole.cuts if cut == frame)
        assert alone.flashes == tuple(flash for flash in whole.flashes if flash in (frame - 1, frame))
        assert asked <= set(range(frame - WINDOW, frame + WINDOW))


def test_frames_outside_are_asked_for_near_a_change_only(scene: Any) -> None:
    guides = dict(enumerate(map(cut_guide, scene(1, 20))))
    asked = set()

    def guide(number: int) -> Any:
        asked.add(number)
        return guides.get(number)

    assert search(range(5, 15), guide) == Findings((), ())
    assert asked == set(range(5, 15))


def test_frames_that_do_not_follow_each_other_are_not_compared(scene: Any) -> None:
    guides = dict(enumerate(map(cut_guide, [*scene(1, 4), *scene(2, 4)])))
    assert search((0, 1, 2, 5, 6, 7), guides.get) == Findings((), ())


def clip(shared: Path, name: str, count: int = 0) -> list[Array]:
    """Luminance of the first frames of a real clip, small; 0: of all."""
    video, out = cv2.VideoCapture(str(shared / "data" / "clips" / f"{name}.mp4")), []
    code = np.arange(256) / 255
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4).astype(np.float32)
    while count == 0 or len(out) < count:
        there, frame = video.read()
        if not there:
            break
        scale = max(SIDE / max(frame.shape[:2]), 32 / min(frame.shape[:2]))
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        out.append(light[small] @ np.array([0.0722, 0.7152, 0.2126], np.float32))
    return out


@pytest.mark.parametrize("name", ["bikes_a", "vide_ocean", "udacity_highway"])
def test_no_cut_in_a_real_shot(shared: Path, name: str) -> None:
    assert found(clip(shared, name)) == Findings((), ())


def test_cuts_between_real_shots_that_look_alike(shared: Path) -> None:
    names = ["bikes_a", "bikes_b", "bikes_c", "liveportrait_s18", "liveportrait_s32", "bikes_a"]
    pictures: list[Array] = []
    for name in names:
        pictures += [cv2.resize(picture, (SIDE, 72)) for picture in clip(shared, name, 5)]
    assert found(pictures) == Findings((5, 10, 15, 20, 25), ())
