"""A shot in chunks: the same files bit for bit as one run, headers included, and no more is read than a chunk takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stpn.ocio.digest import content_digest
from stpn.ocio.plate import inspect_plate
from stpn.plugin import frame_source, frames_on_disk
from stpn.plugin.shot import check

FIRST, LAST = 1001, 1009
KEYS = (1003, 1006)
SPLIT = ["1009", "1004,1006", "1001-1003", "1005,1007-1008"]


def matte(frame: int) -> np.ndarray[Any, Any]:
    found = np.zeros((40, 56), np.float16)
    found[22 - (frame - 1001) :, 30 - 2 * (frame - 1001) :] = 1
    return found


@pytest.fixture
def shot(studio: Any) -> Any:
    """Frames 1001-1009, keys 1003 and 1006 of every property; a plate of which a tenth is clipped for hdr."""
    studio.plate(range(FIRST, LAST + 1))
    for frame in range(FIRST, LAST + 1):
        clipped = np.minimum(studio.rgb(frame) * 4, 1) ** 0.45
        studio.write(f"clipped.{frame}.exr", studio.channels(clipped))
    for frame in KEYS:
        studio.write(f"key.{frame}.exr", studio.channels(studio.rgb(frame)))
        studio.write(f"light.{frame}.exr", studio.channels(studio.rgb(frame) * 4))
        studio.write(f"matte.{frame}.exr", {"A": matte(frame)})
        studio.write(f"depth.{frame}.exr", {"depth.Z": np.asarray(5 + 40 * studio.light(frame), np.float32)})
    return studio


KINDS: dict[str, dict[str, Any]] = {
    "color": {"method": "aligned"},
    "color by the paper": {"method": "stpn"},
    "hdr": {"property": "hdr", "plate": "clipped.####.exr", "keys": "light.####.exr", "method": "flow"},
    "mask": {"property": "mask", "keys": "matte.####.exr"},
    "channels": {
        "property": "channels", "keys": "depth.####.exr", "channels": "depth.Z", "channels_curve": "log",
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_any_split_makes_the_same_files(shot: Any, kind: str) -> None:
    shot.render(**KINDS[kind], confidence="sure.####.exr", threads=2)
    whole, sure = shot.contents("out."), shot.contents("sure.")
    assert len(whole) == len(sure) == LAST - FIRST + 1
    for frames in SPLIT:
        more = {"output": "again.####.exr", "confidence": "sure again.####.exr", "threads": 1}
        shot.render(**KINDS[kind], frames=frames, **more)
    assert shot.contents("again.") == whole
    assert shot.contents("sure again.") == sure


@pytest.mark.parametrize("kind", ["color by the paper", "hdr", "channels"])
def test_chunks_leave_what_the_whole_made(shot: Any, kind: str) -> None:
    shot.render(**KINDS[kind])
    before = shot.files()
    for frames in SPLIT:
        done = shot.render(**KINDS[kind], frames=frames, skip_existing=True)
        assert {frame.status for frame in done} == {"skipped"}
    assert shot.files() == before


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """The files whose pixels, headers and content are looked at from now on."""
    found: dict[str, set[str]] = {"pixels": set(), "headers": set(), "content": set()}
    pixels = frame_source.read_plate

    def spied(what: str, honest: Any) -> Any:
        def look(path: Path) -> Any:
            found[what].add(Path(path).name)
            return honest(path)

        return look

    monkeypatch.setattr(frame_source, "read_plate", spied("pixels", pixels))
    monkeypatch.setattr(frames_on_disk, "inspect_plate", spied("headers", inspect_plate))
    monkeypatch.setattr("stpn.ocio.digest.content_digest", spied("content", content_digest))
    return found


def names(stem: str, *frames: int) -> set[str]:
    return {f"{stem}.{frame}.exr" for frame in frames}


@pytest.mark.parametrize(
    ("frames", "plates", "keys"),
    [
        ("1001", (1001, 1002, 1003), (1003,)),
        ("1002-1003", (1002, 1003), (1003,)),
        ("1004", (1003, 1004, 1005, 1006), (1003, 1006)),
        ("1006", (1006,), (1006,)),
        ("1008", (1006, 1007, 1008), (1006,)),
    ],
)
@pytest.mark.parametrize("cuts", ["auto", "none"])
def test_a_chunk_reads_its_plate_frames_and_the_keys_that_serve_it(
    shot: Any, read: dict[str, set[str]], frames: str, plates: tuple[int, ...], keys: tuple[int, ...], cuts: str
) -> None:
    shot.render(method="flow", frames=frames, cuts=cuts)
    wanted = names("plate", *plates) | names("key", *keys)
    assert read["headers"] == wanted
    # two frames at an edge may be a flash, which one frame beyond it tells
    beyond = names("plate", plates[0] - 1, plates[-1] + 1) if cuts == "auto" else set[str]()
    for what in ("pixels", "content"):
        assert wanted <= read[what] <= wanted | beyond


def test_the_search_for_cuts_reads_beyond_a_chunk_at_a_change_alone(shot: Any, read: dict[str, set[str]]) -> None:
    for frame in range(1008, LAST + 1):
        shot.write(f"plate.{frame}.exr", shot.channels(np.full(shot.shape, 0.9 * (frame % 2))))
    found = check(shot.request(method="flow", frames="1007"))
    assert found.frames == (1007,)
    within = names("plate", 1006, 1007)
    assert within <= read["pixels"] <= within | names("plate", 1003, 1004, 1005, 1008, 1009)


def test_the_camera_curve_follows_from_the_keys_of_a_span_alone(shot: Any, read: dict[str, set[str]]) -> None:
    shot.render(**KINDS["hdr"], frames="1008")
    assert read["pixels"] == names("clipped", 1006, 1007, 1008) | names("light", 1006)
