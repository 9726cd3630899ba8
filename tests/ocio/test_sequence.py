"""Sequences and frame ranges: every way to write a pattern, holes, negative numbers, and the texts of the errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpn.ocio.sequence import MAXIMUM_FRAMES, Sequence, SequenceError, parse_frames


@pytest.mark.parametrize(
    ("pattern", "frame", "name"),
    [
        ("p.####.exr", 7, "p.0007.exr"),
        ("p.####.exr", 12345, "p.12345.exr"),
        ("p.####.exr", -7, "p.-007.exr"),
        ("p.#.exr", 7, "p.7.exr"),
        ("p.##.exr", 1001, "p.1001.exr"),
        ("p.@.exr", 7, "p.7.exr"),
        ("p.@@@.exr", 7, "p.007.exr"),
        ("p.%04d.exr", 7, "p.0007.exr"),
        ("p.%04d.exr", -7, "p.-007.exr"),
        ("p.%d.exr", 7, "p.7.exr"),
        ("p.$F4.exr", 7, "p.0007.exr"),
        ("p.$F.exr", 7, "p.7.exr"),
        ("####", 7, "0007"),
        ("shot_010_v02-####_beauty.left.exr", 7, "shot_010_v02-0007_beauty.left.exr"),
        ("1-10_####.exr", 7, "1-10_0007.exr"),
        ("p ü,x2.####.exr", 7, "p ü,x2.0007.exr"),
    ],
)
def test_path_of_a_frame(pattern: str, frame: int, name: str, tmp_path: Path) -> None:
    assert Sequence(pattern).path(frame) == Path(name)
    assert Sequence(tmp_path / pattern).path(frame) == tmp_path / name


def test_frames_on_disk_have_holes_and_signs_and_stay_as_numbered(tmp_path: Path) -> None:
    names = ["p.1001.exr", "p.1003.exr", "p.-005.exr", "p.0000.exr", "p.12345.exr"]
    others = [
        "p.7.exr",
        "p.007.exr",
        "p.01001.exr",
        "p.1002.exr.bak",
        ".p.1004.123-4-5.partial.exr",
        "q.1005.exr",
        "p.exr",
    ]
    for name in names + others:
        (tmp_path / name).touch()
    (tmp_path / "p.1006.exr").mkdir()
    for pattern in ("p.####.exr", "p.%04d.exr", "p.@@@@.exr", "p.$F4.exr"):
        assert Sequence(tmp_path / pattern).frames() == [-5, 0, 1001, 1003, 12345]
    assert Sequence(tmp_path / "p.#.exr").frames() == [7, 1001, 1003, 12345]


def test_a_frame_found_is_a_path_that_exists(tmp_path: Path) -> None:
    for number in ("-012", "-1", "0", "3", "99", "100", "4711"):
        (tmp_path / f"a{number}b.exr").touch()
    for pattern in ("a#b.exr", "a##b.exr", "a####b.exr"):
        sequence = Sequence(tmp_path / pattern)
        assert sequence.frames()
        assert all(sequence.path(frame).exists() for frame in sequence.frames())


def test_a_missing_folder_has_no_frames(tmp_path: Path) -> None:
    assert Sequence(tmp_path / "nowhere" / "p.####.exr").frames() == []


def test_the_closest_pattern_is_told_where_only_the_digits_differ(tmp_path: Path) -> None:
    for number in ("001", "002", "0007"):
        (tmp_path / f"p.{number}.exr").touch()
    assert Sequence(tmp_path / "p.#####.exr").closest_pattern() == str(tmp_path / "p.###.exr")
    assert Sequence(tmp_path / "q.#####.exr").closest_pattern() is None


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("p.exr", "p.exr: expected a frame token like ####, found none: a single picture has no frames"),
        (
            "a/p.1001.exr",
            "a/p.1001.exr: expected a frame token like ####, found none: for its sequence type p.####.exr",
        ),
        ("p.##.####.exr", "p.##.####.exr: expected one frame token, found ## and ####: keep one"),
        ("p.<UDIM>.exr", "p.<UDIM>.exr: expected a frame token like ####, found <UDIM>"),
        ("##/p.####.exr", "##/p.####.exr: expected the frame token in the file name, found one in the folder"),
    ],
)
def test_patterns_that_are_refused(pattern: str, message: str) -> None:
    with pytest.raises(SequenceError) as error:
        Sequence(pattern)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("1001-1100x20,1093", [1001, 1021, 1041, 1061, 1081, 1093]),
        ("5", [5]),
        ("-5--1", [-5, -4, -3, -2, -1]),
        ("-2-1", [-2, -1, 0, 1]),
        ("10-1x3", [1, 4, 7, 10]),
        ("3,1-2,2", [1, 2, 3]),
        (" 1 - 3 , 7 ", [1, 2, 3, 7]),
        ("1-1x50", [1]),
        (f"1-{MAXIMUM_FRAMES}", list(range(1, MAXIMUM_FRAMES + 1))),
    ],
)
def test_frame_ranges(text: str, frames: list[int]) -> None:
    assert parse_frames(text) == frames


EXPECTED = "expected a frame or range like 1001-1100x20 at place"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"frames '': {EXPECTED} 1, found nothing"),
        ("1,,2", f"frames '1,,2': {EXPECTED} 2, found nothing"),
        ("a", f"frames 'a': {EXPECTED} 1, found 'a'"),
        ("1,2-", f"frames '1,2-': {EXPECTED} 2, found '2-'; did you mean 2?"),
        ("1-10:2", f"frames '1-10:2': {EXPECTED} 1, found '1-10:2'; did you mean 1-10x2?"),
        ("1..5", f"frames '1..5': {EXPECTED} 1, found '1..5'; did you mean 1-5?"),
        ("1.5-3", f"frames '1.5-3': {EXPECTED} 1, found '1.5-3'"),
        ("1-10x0", "frames '1-10x0': expected a step of 1 or more in '1-10x0', got 0"),
        ("1-10x-2", "frames '1-10x-2': expected a step of 1 or more in '1-10x-2', got -2"),
        ("0-1000000", "frames '0-1000000': expected at most 1000000 frames, '0-1000000' exceeds that"),
        ("1-99999999999", "frames '1-99999999999': expected numbers of up to 9 digits, got '1-99999999999'"),
    ],
)
def test_frame_ranges_that_are_refused(text: str, message: str) -> None:
    with pytest.raises(SequenceError) as error:
        parse_frames(text)
    assert str(error.value) == message


def test_many_ranges_that_are_too_long_together_are_refused() -> None:
    with pytest.raises(SequenceError, match="expected at most 1000000 frames"):
        parse_frames(",".join(["1-400000"] * 3))


@given(st.lists(st.integers(-9999, 99999), min_size=1, max_size=20))
def test_frames_written_one_by_one_come_back_sorted_and_once(frames: list[int]) -> None:
    assert parse_frames(",".join(map(str, frames))) == sorted(set(frames))


@given(st.text(alphabet="0123456789-x, .:", max_size=15))
def test_no_text_ends_in_anything_but_frames_or_one_line(text: str) -> None:
    message = ""
    frames: list[int] = []
    try:
        frames = parse_frames(text)
    except SequenceError as error:
        message = str(error)
    assert bool(frames) != bool(message)
    assert frames == sorted(set(frames))
    assert "\n" not in message
