"""Cuts in a shot on disk: what serves what, chunks at a cut, and what is said and refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from stpn.plugin import cut_search, frame_source
from stpn.plugin.request import RequestError
from stpn.plugin.shot import check

Array = np.ndarray[Any, Any]


def scene(studio: Any, frame: int, other: bool) -> tuple[Array, Array]:
    """Luminance and color of the studio's scene at a frame, or of another scene: a place far off in the same one."""
    frame += 64 * other
    return studio.light(frame), studio.rgb(frame)


def write(studio: Any, frame: int, light: Array, key: Array | None = None) -> None:
    studio.write(f"plate.{frame:04d}.exr", studio.channels(light))
    if key is not None:
        studio.write(f"key.{frame:04d}.exr", studio.channels(key))


@pytest.fixture
def cut(studio: Any) -> Any:
    """Frames 1-6 of one scene, 7-12 of another; keys 3, 5, 9."""
    for frame in range(1, 13):
        light, rgb = scene(studio, frame, frame > 6)
        write(studio, frame, light, rgb if frame in (3, 5, 9) else None)
    return studio


def test_no_key_serves_across_a_cut_that_is_found(cut: Any) -> None:
    shot = check(cut.request(method="flow"))
    assert (shot.cuts, shot.flashes) == ((7,), ())
    assert "cuts: new shots begin at 7" in shot.decisions
    assert {frame: span.keys for span in shot.spans() for frame in span.targets} == {
        1: (3,), 2: (3,), 4: (3, 5), 6: (5,), 7: (9,), 8: (9,), 10: (9,), 11: (9,), 12: (9,)
    }  # fmt: skip
    for frame in cut.render(method="flow", confidence="sure.####.exr"):
        _, truth = scene(cut, frame.frame, frame.frame > 6)
        error = np.abs(cut.image(f"out.{frame.frame:04d}.exr") - truth)[6:-6, 10:-10].mean()
        assert error < 0.1 * truth.mean(), f"frame {frame.frame} is not colored from its own shot"


def test_chunks_at_a_cut_are_the_same_files(cut: Any) -> None:
    cut.render(method="flow", confidence="sure.####.exr", threads=2)
    whole, sure = cut.contents("out."), cut.contents("sure.")
    assert len(whole) == len(sure) == 12
    for name, chunks in (("a", [str(frame) for frame in range(1, 13)]), ("b", ["6-7", "1-5,8-12"])):
        for chunk in chunks:
            cut.render(
                method="flow", frames=chunk, output=f"{name}.####.exr", confidence=f"sure{name}.####.exr", threads=1
            )
        assert cut.contents(f"{name}.") == whole
        assert cut.contents(f"sure{name}.") == sure


def test_a_shot_without_a_key_is_refused(cut: Any) -> None:
    (cut.folder / "key.0009.exr").unlink()
    message = (
        "key.####.exr: expected a key in every shot (--keys-used both), there is none for {}: new shots begin at 7; "
        "paint a key there, or give --cuts none to take keys of other shots"
    )
    assert cut.refused(method="flow") == (message.format("7-12"),)
    assert cut.refused(method="flow", frames="6-8") == (message.format("7-8"),)
    assert check(cut.request(method="flow", frames="1-6")).cuts == ()  # nothing beyond is looked at
    assert check(cut.request(method="flow", cuts="none")).key_frames == (3, 5)
    assert cut.refused(method="flow", cuts="7") == (message.format("7-12"),)


def test_cuts_that_are_given_are_not_looked_for(cut: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_source, "read_plate", None)
    assert check(cut.request(method="flow", cuts="none")).decisions[3] == "cuts: none, by --cuts"
    shot = check(cut.request(method="flow", cuts="7,11", frames="1-10"))
    assert (shot.cuts, shot.decisions[3]) == ((7, 11), "cuts: new shots begin at 7, 11, by --cuts")
    assert [span.keys for span in shot.spans()] == [(3,), (3, 5), (5,), (9,), (9,)]
    # what lies beyond a given cut need not be there
    for frame in range(1, 7):
        (cut.folder / f"plate.{frame:04d}.exr").unlink()
    assert check(cut.request(method="flow", cuts="7", frames="7-8", key_frames="3,5,9")).key_frames == (9,)


def test_nothing_is_looked_at_where_nothing_is_carried(cut: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_source, "read_plate", None)
    assert check(cut.request(method="flow", frames="3,5,9")).decisions[3] == (
        "cuts: not looked for, no frame takes anything from another"
    )
    assert cut.refused(method="flow", threads=-1) == ("--threads: expected 1 or more, or 0 for all processors, got -1",)


def test_a_flash_is_told_and_is_no_cut(studio: Any) -> None:
    for frame in range(1, 11):
        write(studio, frame, *scene(studio, frame, frame == 6))
        if frame > 1:
            (studio.folder / f"key.{frame:04d}.exr").unlink()
    shot = check(studio.request(method="flow"))
    assert (shot.cuts, shot.flashes) == ((), (6,))
    assert shot.decisions[3:5] == ("cuts: none found", "flashes: 6, unlike the frames on both sides")
    # a chunk that ends at the flash reads on, to tell it from a cut
    shot = check(studio.request(method="flow", frames="6", keys_used="previous"))
    assert (shot.cuts, shot.flashes) == ((), (6,))
    for frame in range(7, 11):
        (studio.folder / f"plate.{frame:04d}.exr").unlink()
    (problem,) = studio.refused(method="flow", frames="6", keys_used="previous")
    assert "there is none for 6: new shots begin at 6;" in problem


def test_a_frame_whose_pixels_are_damaged_is_refused_at_once(cut: Any) -> None:
    path = cut.folder / "plate.0004.exr"
    broken = bytearray(path.read_bytes())
    broken[-60:] = bytes(60)
    path.write_bytes(broken)
    (problem,) = cut.refused(method="flow")
    assert problem.startswith("plate.0004.exr: ")
    assert check(cut.request(method="flow", frames="10-12")).cuts == ()


def test_few_frames_are_in_memory_at_once(studio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.plate(range(1, 60))
    studio.keys([1])
    read, known = [], []
    honest = frame_source.read_plate

    def noted(path: Any) -> Any:
        read.append(int(path.name[6:10]))
        return honest(path)

    def decided(frames: Any, guides: Any) -> Any:
        for frame in frames:
            guides(frame)
            known.append((max(read), frame, len(guides._known)))
        return cut_search.Findings((), ())

    monkeypatch.setattr(frame_source, "read_plate", noted)
    monkeypatch.setattr(cut_search, "search", decided)
    check(studio.request(method="flow", threads=2))
    assert sorted(read) == list(range(1, 60))
    assert all(ahead - frame <= 4 and count <= 12 for ahead, frame, count in known)


def test_ctrl_c_while_cuts_are_looked_for(cut: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(frames: object, guides: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cut_search, "search", interrupted)
    before = cut.files()
    done = cut.run("--method", "flow")
    assert (done.code, done.err) == (130, "stpn propagate: cancelled\n")
    assert cut.files() == before


def test_the_option_on_the_command_line(cut: Any) -> None:
    done = cut.run("--json", "--method", "flow")
    assert done.code == 0
    assert "cuts: new shots begin at 7\n" in done.err
    keys = {line["frame"]: line["keys"] for line in map(json.loads, done.out.splitlines())}
    assert (keys[6], keys[7]) == ([5], [9])
    done = cut.run("--json", "--method", "flow", "--cuts", "none")
    assert "cuts: none, by --cuts\n" in done.err
    assert json.loads(done.out.splitlines()[6])["keys"] == [5, 9]


def test_the_request_names_the_option() -> None:
    with pytest.raises(RequestError, match=r"^--cuts: frames 'x': .*; or type auto or none$"):
        cut_search.given_cuts("x")
    assert cut_search.given_cuts("auto") is None
    assert cut_search.given_cuts("none") == ()
    assert cut_search.given_cuts("1041,1093") == (1041, 1093)


@pytest.mark.parametrize("method", ["flow", "aligned"])
def test_motion_goes_on_behind_a_flash(studio: Any, method: str) -> None:
    for frame in range(1, 13):
        light, rgb = scene(studio, frame, False)
        write(studio, frame, light + 30 * (frame == 4), rgb if frame == 1 else None)
    with_flash = {frame.frame: frame for frame in studio.render(method=method)}
    assert set(with_flash) == set(range(1, 13))
    for frame in (6, 9):
        _, truth = scene(studio, frame, False)
        error = np.abs(studio.image(f"out.{frame:04d}.exr") - truth)[10:-10, 16:-16].mean()
        assert error < 0.1 * truth.mean(), f"frame {frame} lost its color behind the flash"
