"""Plates larger than the working size: the same guarantees, memory that is bounded, and where the time goes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from stpn.engine import working_size
from stpn.plugin import memory, previews
from stpn.plugin.cut_search import find_cuts
from stpn.plugin.shot import check

Array = np.ndarray[Any, Any]


@pytest.fixture
def film(studio: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A shot whose pictures are three times as large as motion is estimated on."""
    monkeypatch.setattr(working_size, "LONG_SIDE", 42)
    studio.shape = (102, 126)
    studio.plate(range(1001, 1009))
    studio.keys((1001, 1005, 1008))
    return studio


@pytest.mark.parametrize("method", ["flow", "aligned"])
def test_luminance_and_keys_are_as_ever(film: Any, method: str) -> None:
    film.render(method=method, confidence="sure.####.exr")
    inside = np.s_[12:-12, 12:-12]
    for frame in range(1001, 1009):
        light = film.pixels(f"plate.{frame}.exr")["R"]
        found = film.image(f"out.{frame}.exr")
        if frame in (1001, 1005, 1008):
            assert (found == film.image(f"key.{frame}.exr")).all()
            continue
        assert film.luminance_error(found, light) < 1e-3
        truth = film.rgb(frame)[inside]
        copied = min(np.abs(film.rgb(key)[inside] - truth).mean() for key in (1001, 1005, 1008))
        assert np.abs(found[inside] - truth).mean() < 0.35 * copied
        sure = film.pixels(f"sure.{frame}.exr")["Y"]
        assert sure.shape == film.shape
        assert 0 <= sure.min() <= sure.max() <= 1


@pytest.mark.parametrize("options", [{}, {"method": "flow"}, {"colorspace": "ARRI LogC4"}], ids=str)
def test_chunks_and_threads_change_no_bit(film: Any, options: dict[str, Any]) -> None:
    film.render(**options)
    whole = film.contents("out.")
    for name in list(whole):
        (film.folder / f"out.{name}").unlink()
    film.render(frames="1006-1008", threads=1, **options)
    film.render(frames="1003", threads=3, **options)
    film.render(frames="1001,1002,1004,1005", cuts="none", **options)
    assert film.contents("out.") == whole


def test_a_frame_that_was_looked_at_is_read_once_less_and_is_the_same(
    film: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = check(film.request())
    assert kept.plate.previews.take(1002) is not None
    film.render()
    whole = film.contents("out.")
    monkeypatch.setattr(previews, "_MOST_BYTES", 0)
    without = check(film.request())
    assert without.plate.previews.take(1002) is None
    film.render()
    assert film.contents("out.") == whole


def test_cuts_are_found_at_the_working_size(film: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working_size, "LONG_SIDE", 63)
    for frame in range(1005, 1009):
        film.write(f"plate.{frame}.exr", film.channels(4 * film.light(frame)[::-1, ::-1] ** 2))
    shot = check(film.request(cuts="none"))
    assert find_cuts(shot.plate, range(1001, 1009), range(1001, 1009), 2).cuts == (1005,)


@pytest.mark.parametrize(
    ("gib", "threads", "size", "expected"),
    [(2.5, 64, (4096, 2160), 2), (16, 64, (4096, 2160), 27), (16, 8, (4096, 2160), 8), (2.5, 64, (1920, 1080), 13)],
)
def test_fewer_frames_are_worked_on_at_once_where_memory_is_short(
    gib: float, threads: int, size: tuple[int, int], expected: int
) -> None:
    assert memory.threads_within(gib, threads, *size) == expected


def test_half_of_what_there_is_may_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert memory.available() > 1 << 28
    monkeypatch.setattr(memory, "available", lambda: 16 << 30)
    assert memory.threads_within(0, 64, 4096, 2160) == memory.threads_within(8, 64, 4096, 2160)
    monkeypatch.setattr(memory, "available", lambda: 1 << 28)
    assert memory.threads_within(0, 64, 4096, 2160) == 1


def test_too_little_memory_is_refused(film: Any) -> None:
    assert film.refused(memory=0.1) == ("--memory 0.1: expected 0.8 GiB or more for pictures of 126 x 102",)
    assert check(film.request(memory=1.0, threads=2)).threads == 2
    assert film.refused(memory=-1.0) == ("--memory: expected GiB, 0 or more, got -1",)
    assert film.refused(memory=float("nan")) == ("--memory: expected GiB, 0 or more, got nan",)


def test_the_profile_says_where_the_time_went(film: Any) -> None:
    result = film.run("--frames=1001-1004", "--profile")
    assert result.code == 0
    assert "stage" in result.err
    assert "sampling at full size" in result.err
    assert "peak memory" in result.err
    result = film.run("--frames=1001-1004", f"--profile={film.folder}/profile.json", "--method=flow")
    found = json.loads((film.folder / "profile.json").read_text())
    assert found["frames"] == 4
    assert {"read", "motion", "warp", "fusion", "color in", "color out", "write"} <= set(found["stages"])
    assert "network" not in found["stages"]
    assert all(stage["cpu"] >= 0 and stage["wall"] >= 0 for stage in found["stages"].values())
    assert 0 < sum(stage["cpu"] for stage in found["stages"].values()) <= 1.1 * found["cpu"]
    assert found["peak_bytes"] > 1 << 26


def test_a_profile_that_cannot_be_written_is_refused(film: Any) -> None:
    result = film.run("--profile=profile.txt")
    assert (result.code, film.contents("out.")) == (2, {})
    assert "--profile profile.txt: expected .json, got .txt" in result.err
    result = film.run(f"--profile={film.folder}/nowhere/profile.json")
    assert (result.code, film.contents("out.")) == (2, {})
    assert "expected a folder that exists" in result.err
