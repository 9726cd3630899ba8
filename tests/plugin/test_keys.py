"""Which frames are keys, which keys serve a frame, and how frames are said in words."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpn.plugin.keys import Span, frames_of, key_frames, parted, serving, serving_keys, spans
from stpn.plugin.request import Request, RequestError, first_of, listed

PLATE = range(1001, 1022)
FRAMES = st.lists(st.integers(-20, 40), unique=True).map(sorted)


def request(**options: object) -> Request:
    return Request("plate.#.exr", "key.#.exr", "out.#.exr", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({}, (1003, 1007)),
        ({"interval": 5}, (1003, 1008, 1013, 1018)),
        ({"interval": 18}, (1003, 1021)),
        ({"interval": 100}, (1003,)),
        ({"interval": 10, "first_key": 1001}, (1001, 1011, 1021)),
        ({"interval": 10, "first_key": 1021}, (1021,)),
        ({"interval": 1, "first_key": 1020}, (1020, 1021)),
        ({"key_frames": "1015,1001-1011x5"}, (1001, 1006, 1011, 1015)),
    ],
    ids=str,
)
def test_key_frames(options: dict[str, object], keys: tuple[int, ...]) -> None:
    assert key_frames(request(**options), PLATE, [1003, 1007]) == keys


def test_the_option_is_blamed_for_a_range_that_makes_no_sense() -> None:
    with pytest.raises(RequestError, match=r"^--frames: frames '1x': expected a frame or range"):
        frames_of("1x", "--frames")


@pytest.mark.parametrize(
    ("frame", "used", "around"),
    [
        (5, "both", (0, 10)),
        (5, "previous", (0, None)),
        (5, "next", (None, 10)),
        (-1, "both", (None, 0)),
        (-1, "previous", (None, None)),
        (11, "both", (10, None)),
        (11, "next", (None, None)),
    ],
)
def test_serving(frame: int, used: str, around: tuple[int | None, int | None]) -> None:
    assert serving(frame, (0, 10), used) == around


@pytest.mark.parametrize(
    ("frame", "cuts", "around"),
    [
        (5, (), (0, 10)),
        (5, (0, 11), (0, 10)),  # a cut lies before the first frame of a shot
        (5, (1,), (None, 10)),
        (5, (5,), (None, 10)),
        (5, (6,), (0, None)),
        (5, (10,), (0, None)),
        (5, (3, 7), (None, None)),
        (-1, (0,), (None, None)),
    ],
)
def test_no_key_serves_across_a_cut(frame: int, cuts: tuple[int, ...], around: tuple[int | None, int | None]) -> None:
    assert serving(frame, (0, 10), "both", cuts) == around


def test_the_keys_in_use_and_the_frames_without() -> None:
    assert serving_keys(range(12), (2, 8, 20), "both") == ((2, 8, 20), ())
    assert serving_keys(range(12), (2, 8, 20), "both", (5, 10, 15)) == ((2, 8), (10, 11))
    assert serving_keys((3, 9), (2, 8), "previous", (3,)) == ((8,), (3,))
    assert serving_keys((2,), (2, 8), "both", (5,)) == ((2,), ())


@given(FRAMES, FRAMES, FRAMES, st.sampled_from(["both", "previous", "next"]))
def test_spans_stay_within_their_shot(frames: list[int], keys: list[int], cuts: list[int], used: str) -> None:
    found = list(spans(frames, keys, used, cuts))
    assert [frame for span in found for frame in span.targets] == [frame for frame in frames if frame not in keys]
    for span in found:
        if span.keys:
            assert not any(span.reach[0] < cut <= span.reach[-1] for cut in cuts)
        for frame in span.targets:
            open_keys = serving(frame, keys, used)
            for got, there in zip((span.before, span.after), open_keys, strict=True):
                blocked = there is not None and parted(min(there, frame), max(there, frame), cuts)
                assert got == (None if blocked else there)


@given(FRAMES, FRAMES, st.sampled_from(["both", "previous", "next"]))
def test_spans_hold_every_frame_once_with_the_keys_around_it(frames: list[int], keys: list[int], used: str) -> None:
    found = list(spans(frames, keys, used))
    assert [frame for span in found for frame in span.targets] == [frame for frame in frames if frame not in keys]
    for span in found:
        for frame in span.targets:
            before = max((key for key in keys if key < frame and used != "next"), default=None)
            after = min((key for key in keys if key > frame and used != "previous"), default=None)
            assert (span.before, span.after) == (before, after)
    assert all((a.before, a.after) != (b.before, b.after) for a, b in pairwise(found))


def test_the_reach_of_a_span_runs_from_key_to_farthest_target() -> None:
    assert Span(1, 9, (4, 5)).reach == range(1, 10)
    assert Span(1, None, (4, 5)).reach == range(1, 6)
    assert Span(None, 9, (4, 5)).reach == range(4, 10)
    assert Span(1, 9, (4, 5)).keys == (1, 9)
    assert Span(None, 9, (4, 5)).keys == (9,)


@pytest.mark.parametrize(
    ("frames", "text"),
    [
        ([], ""),
        ([7], "7"),
        ([7, 8], "7-8"),
        ([-3, -2, -1, 0, 4, 6, 7], "-3-0, 4, 6-7"),
        (range(0, 16, 2), "0, 2, 4, 6, 8, 10, 12, 14"),
        (range(0, 20, 2), "0, 2, 4, 6, 8, 10, 12, 14 and 2 more"),
    ],
)
def test_listed(frames: list[int], text: str) -> None:
    assert listed(frames) == text


def test_the_first_problems_and_how_many_more() -> None:
    problems = [f"problem {n}" for n in range(10)]
    assert first_of(problems[:8]) == problems[:8]
    assert first_of(problems) == [*problems[:8], "and 2 more like these"]
