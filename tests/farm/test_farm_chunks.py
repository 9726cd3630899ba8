"""Where a shot is divided: every frame in one chunk, edges on keys and cuts, and no chunk too long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stpn.plugin.farm.chunks import Division, chunk_size, divide, evenly, in_words, on_edges, regular, runs
from stpn.plugin.farm.openjd import ranges
from stpn.plugin.request import RequestError

FRAMES = st.sets(st.integers(-40, 120), min_size=1, max_size=80).map(sorted)
EDGES = st.sets(st.integers(-50, 130), max_size=20)


def words(chunks: object) -> list[str]:
    return [in_words(chunk) for chunk in chunks]  # type: ignore[attr-defined]


def test_chunks_go_from_key_to_key() -> None:
    division = divide(range(1001, 1042), [1041, 1011, 1001, 1031, 1021])
    assert words(division.chunks) == ["1001-1010", "1011-1020", "1021-1030", "1031-1040", "1041"]
    assert division.size == 10
    assert on_edges(division.chunks, [1001, 1011, 1021, 1031, 1041]) == 5


def test_chunks_of_a_length_take_whole_spans_where_these_are_shorter() -> None:
    edges = [1, 5, 9, 13, 17]
    assert words(divide(range(1, 21), edges, 8).chunks) == ["1-8", "9-16", "17-20"]
    assert words(divide(range(1, 21), edges, 7).chunks) == ["1-4", "5-8", "9-12", "13-16", "17-20"]
    # longer ones are divided evenly
    assert words(divide(range(1, 21), [1, 15], 6).chunks) == ["1-5", "6-10", "11-14", "15-20"]


def test_chunks_end_where_frames_are_missing() -> None:
    assert words(divide([1, 2, 3, 7, 8, 20], [3], 5).chunks) == ["1-3", "7-8", "20"]
    assert words(divide([-3, -2, -1, 0], [-1]).chunks) == ["-3--2", "-1-0"]


@given(FRAMES, EDGES, st.none() | st.integers(1, 30))
def test_every_frame_is_in_one_chunk_and_none_is_too_long(frames: list[int], edges: set[int], size: int | None) -> None:
    division = divide(frames, edges, size)
    assert [frame for chunk in division.chunks for frame in chunk] == frames
    assert all(1 <= len(chunk) <= division.size for chunk in division.chunks)
    assert size in (None, division.size)
    there = set(frames)
    for group in division.groups:
        assert group.start in edges or group.start - 1 not in there


@given(FRAMES, EDGES, st.none() | st.integers(1, 30))
def test_steps_of_open_job_description_hold_every_frame_and_keep_the_edges(
    frames: list[int], edges: set[int], size: int | None
) -> None:
    division = divide(frames, edges, size)
    steps = ranges(division, frames)
    divided = []
    for _, text in steps:
        there: list[int] = []
        for item in text.split(","):
            found = next(run for run in (*division.groups, *runs(frames)) if in_words(run) == item)
            there += found
        divided += [chunk for run in runs(sorted(there)) for chunk in evenly(run, division.size)]
    assert sorted(divided, key=lambda chunk: chunk.start) == list(division.chunks)


def test_more_keys_than_a_parameter_can_name_give_up_their_edges() -> None:
    keys = [frame for frame in range(1001, 3001) if frame % 7 in (0, 3)]
    division = divide(range(1001, 3001), keys)
    assert ranges(division, range(1001, 3001)) == [("Frames", "1001-3000")]


@given(FRAMES, EDGES, st.none() | st.integers(1, 30), st.integers(1, 9))
def test_chunks_of_one_length_hold_every_frame(frames: list[int], edges: set[int], size: int | None, most: int) -> None:
    division = divide(frames, edges, size)
    found = regular(division.chunks, most)
    assert 1 <= len(found) <= most
    assert [frame for held, _ in found for run in held for frame in run] == frames
    if most == 9 and len(found) > 1:
        cut = [
            range(held[at], held[min(at + length, len(held)) - 1] + 1)
            for groups, length in found
            for held in [[frame for run in groups for frame in run]]
            for at in range(0, len(held), length)
        ]
        assert cut == list(division.chunks)


def test_a_lead_in_is_a_run_of_its_own() -> None:
    division = Division(10, (range(1, 6), range(6, 16), range(16, 26), range(26, 30)))
    assert regular(division.chunks) == [([range(1, 6)], 5), ([range(6, 30)], 10)]


@pytest.mark.parametrize("text", ["", "0", "-1", "key", "1.5", "٣", "10000000"])
def test_a_length_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="--chunk: expected a number of frames, such as 20, or keys, got"):
        chunk_size(text)
    assert (chunk_size("keys"), chunk_size("20")) == (None, 20)
