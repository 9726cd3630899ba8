"""`stpn keys` as a person types it: what is proposed, what is refused, what is printed and drawn."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest

from stpn.plugin.cli import main
from stpn.plugin.key_proposals import advise
from stpn.plugin.keys_request import KeysRequest, Task, check
from stpn.plugin.request import RequestError

Keys = Callable[..., tuple[int, str, str]]


@pytest.fixture
def keys(studio: Any, capsys: pytest.CaptureFixture[str]) -> Keys:
    """Runs `stpn keys` for the plate in the studio's folder: exit code, standard output and standard error."""

    def run(*options: str) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main(["keys", "--plate", f"{studio.folder}/plate.####.exr", *options])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def plate(studio: Any) -> Any:
    """Frames 1001-1010 of one scene, 1011-1016 of another."""
    for frame in range(1001, 1017):
        light = studio.light(frame + 64 * (frame > 1010))
        studio.write(f"plate.{frame}.exr", studio.channels(light))
    return studio


def test_a_first_set_has_a_key_in_every_shot(plate: Any, keys: Keys) -> None:
    code, out, err = keys("--add", "1")
    assert code == 0
    assert err.splitlines()[-4:] == [
        "config: built-in studio-config-v5.0.0_aces-v2.1_ocio-v2.6",
        "plate: Linear Rec.709 (sRGB), chromaticities are those of Rec.709",
        "keys: none yet",
        "cuts: new shots begin at 1011",
    ]
    title, none, *rows, last = out.splitlines()
    assert title == "paint  confidence of all    of the worst frame"
    assert none == "    -  0.000                0.000 (1001)"
    frames = [int(row.split()[0]) for row in rows]
    assert len(frames) == 2
    assert 1004 <= frames[0] <= 1007
    assert 1012 <= frames[1] <= 1015
    assert last == f"next keys: {frames[0]},{frames[1]}"


def test_json_is_one_object(plate: Any, keys: Keys) -> None:
    code, out, err = keys("--json", "--key-frames", "1001,1010", "--add", "3")
    said = json.loads(out)
    assert code == 0
    assert list(said) == [
        "frames", "cuts", "flashes", "keys", "expected", "proposals", "confidence", "decisions", "picture"
    ]  # fmt: skip
    assert (said["frames"], said["cuts"], said["flashes"], said["keys"]) == ([1001, 1016], [1011], [], [1001, 1010])
    assert said["expected"]["worst"] == 0
    assert said["expected"]["worst_frame"] == 1011
    proposals = said["proposals"]
    assert [set(p) for p in proposals] == [{"frame", "mean", "worst_frame", "worst", "gain"}] * 3
    assert 1011 <= proposals[0]["frame"] <= 1016
    means = [said["expected"]["mean"], *(p["mean"] for p in proposals)]
    gains = [p["gain"] for p in proposals]
    assert np.diff(means) == pytest.approx(gains, abs=2e-4)
    assert gains == sorted(gains, reverse=True)
    after = {c["frame"]: c["after"] for c in said["confidence"]}
    assert list(after) == list(range(1001, 1017))
    assert all(after[frame] == 1 for frame in (1001, 1010, *(p["frame"] for p in proposals)))
    assert np.mean(list(after.values())) == pytest.approx(means[-1], abs=2e-4)
    assert all(c["before"] <= c["after"] for c in said["confidence"])
    assert said["decisions"][-1] == "cuts: new shots begin at 1011"
    assert said["picture"] is None
    assert "next keys" not in err


def test_keys_from_files_by_number_and_by_interval(plate: Any, keys: Keys) -> None:
    plate.keys([1003, 1012, 1020])
    code, out, err = keys("--json", "--keys", f"{plate.folder}/key.####.exr")
    assert (code, json.loads(out)["keys"]) == (0, [1003, 1012])
    assert "keys outside 1001-1016 count for nothing: 1020\n" in err
    assert json.loads(keys("--json", "--interval", "6")[1])["keys"] == [1001, 1007, 1013]
    assert json.loads(keys("--json", "--key-frames", "1002-1006x2")[1])["keys"] == [1002, 1004, 1006]


def test_a_part_of_the_plate_and_given_cuts(plate: Any, keys: Keys) -> None:
    said = json.loads(keys("--json", "--frames", "1003-1008", "--cuts", "1006,1020", "--add", "1")[1])
    assert (said["frames"], said["cuts"]) == ([1003, 1008], [1006, 1020])
    assert len(said["proposals"]) == 2
    none = json.loads(keys("--json", "--cuts", "none", "--add", "1")[1])
    assert len(none["proposals"]) == 1


def test_a_target_takes_as_many_as_it_needs(plate: Any, keys: Keys) -> None:
    said = json.loads(keys("--json", "--key-frames", "1001,1011", "--target", "0.93")[1])
    assert said["proposals"][-1]["mean"] >= 0.93
    assert all(p["mean"] < 0.93 for p in said["proposals"][:-1])
    code, out, _ = keys("--key-frames", "1001-1016", "--target", "0.9")
    assert (code, out.splitlines()[-1]) == (0, "no frame needs painting")


def test_a_timeline_is_drawn(plate: Any, keys: Keys) -> None:
    path = plate.folder / "new" / "timeline.png"
    code, out, _ = keys("--key-frames", "1001", "--add", "2", "--picture", str(path))
    assert (code, out.splitlines()[-1]) == (0, f"timeline: {path}")
    picture = cv2.imread(str(path))
    # two rows of pictures and a plot; the pictures are grey, the confidence beside them is not
    assert 600 < picture.shape[1] < 1000
    assert 500 < picture.shape[0] < 1100
    height, width = 240, 336
    thumbnail = picture[28 + 46 : 28 + 46 + height, 28 + 96 : 28 + 96 + width].astype(int)
    assert np.ptp(thumbnail, axis=2).max() <= 2
    assert thumbnail.std() > 10
    beside = picture[28 + 46 : 28 + 46 + height, 28 + 96 + width + 10 : 28 + 96 + 2 * width + 10].astype(int)
    assert np.ptp(beside, axis=2).max() > 30
    for options in (["--key-frames", "1001-1016", "--target", "0.5"], ["--add", "14"]):
        assert keys(*options, "--picture", str(path))[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keys": "k.#.exr", "interval": 2}, "--keys: expected it alone, got --interval too; leave one out"),
        ({"key_frames": "1", "interval": 2}, "--key-frames: expected it alone, got --interval too; leave one out"),
        ({"interval": 0}, "--interval: expected 1 or more frames, got 0"),
        ({"add": 0}, "--add: expected 1 or more frames, got 0"),
        ({"target": 1.5}, "--target: expected a confidence above 0 and up to 1, got 1.5"),
        ({"threads": -1}, "--threads: expected 1 or more, or 0 for all processors, got -1"),
        ({"picture": "sheet.jpg"}, "--picture sheet.jpg: expected a file name that ends in .png"),
        ({"picture": "plate.1001.exr/a.png"}, "--picture plate.1001.exr/a.png: expected a folder that can be written, "
         "plate.1001.exr cannot"),
        ({"cuts": "x"}, "--cuts: frames 'x': expected a frame or range like 1001-1100x20 at place 1, found 'x'; "
         "or type auto or none"),
        ({"frames": "1001-1009x2"}, "--frames 1001-1009x2: expected frames without holes, because motion goes through "
         "every one; type 1001-1009"),
        ({"frames": "1010-1020"}, "plate.####.exr: expected plate frames 1017-1020, not found; there are 1001-1016; "
         "motion needs every frame between the first and the last"),
        ({"plate": "nothing.####.exr"}, "nothing.####.exr: expected plate frames, found none; give the pattern of "
         "files that exist"),
        ({"keys": "key.####.exr"}, "key.####.exr: expected key frames, found none; give the pattern of files that "
         "exist"),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_one_wrong_option(plate: Any, options: dict[str, Any], message: str) -> None:
    named = {"plate": "plate.####.exr", **options}
    for name in ("plate", "keys", "picture"):
        if named.get(name) is not None:
            named[name] = f"{plate.folder}/{named[name]}"
    before = plate.files()
    with pytest.raises(RequestError) as error:
        check(KeysRequest(**named))
    assert [problem.replace(f"{plate.folder}/", "") for problem in error.value.problems] == [message]
    assert plate.files() == before


def test_the_picture_takes_no_place_of_a_frame(plate: Any) -> None:
    (plate.folder / "key.1001.png").write_bytes(b"painted")
    with pytest.raises(RequestError, match=r"expected a place of its own, got that of --keys$"):
        task(plate, keys=f"{plate.folder}/key.####.png", picture=f"{plate.folder}/../{plate.folder.name}/key.1001.png")


def test_exit_codes(plate: Any, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = keys("--add", "0", "--target", "2")
    assert (code, out) == (2, "")
    assert err.splitlines() == [
        "stpn keys: --add: expected 1 or more frames, got 0",
        "stpn keys: --target: expected a confidence above 0 and up to 1, got 2",
    ]
    path = plate.folder / "plate.1004.exr"
    broken = bytearray(path.read_bytes())
    broken[-60:] = bytes(60)
    path.write_bytes(broken)
    code, out, err = keys()
    assert (code, out) == (1, "")
    assert err.splitlines()[-1].startswith(f"stpn keys: frame 1004: {path}: ")

    def interrupted(task: object, done: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("stpn.plugin.key_proposals.advise", interrupted)
    code, out, err = keys("--frames", "1005-1010")
    assert (code, out, err) == (130, "", "stpn keys: cancelled\n")


def test_the_exposure_of_the_plate_does_not_matter(plate: Any) -> None:
    def curve() -> Any:
        advice = advise(task(plate, key_frames="1001,1013"))
        return advice.findings.cuts, [p.frame for p in advice.proposals], advice.confidence

    usual = curve()
    for frame in range(1001, 1017):
        light = plate.light(frame + 64 * (frame > 1010)) * 40
        plate.write(f"plate.{frame}.exr", plate.channels(light))
    bright = curve()
    assert bright[:2] == usual[:2]
    np.testing.assert_allclose(bright[2], usual[2], atol=0.03)


def test_a_flash_is_not_proposed(studio: Any) -> None:
    for frame in range(1001, 1008):
        light = np.ones(studio.shape) if frame == 1004 else studio.light(frame)
        studio.write(f"plate.{frame}.exr", studio.channels(light))
    advice = advise(task(studio, add=9))
    assert advice.findings.flashes == (1004,)
    assert {p.frame for p in advice.proposals} == {1001, 1002, 1003, 1005, 1006, 1007}


def test_of_a_long_plate_not_every_frame_is_looked_at(plate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stpn.plugin.key_proposals._MOST_PAIRS", 40)
    advice = advise(task(plate, add=4))
    assert advice.step == 4
    assert {p.frame for p in advice.proposals} <= {1003, 1007, 1013}
    assert advice.decisions[-1] == "proposals: one frame in 4 was looked at, because the plate is long"


def task(studio: Any, **options: Any) -> Task:
    return check(KeysRequest(f"{studio.folder}/plate.####.exr", **options))
