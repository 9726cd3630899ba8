"""Every refusal of a request, word for word, and that nothing is written; what is decided about a right one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stpn.plugin.shot import check


@pytest.fixture
def shot(studio: Any) -> Any:
    """Plate 1001-1005, keys 1001 and 1005: a request that is right as it stands."""
    studio.plate()
    studio.keys()
    check(studio.request())
    return studio


def test_missing_plate_frames_are_named(shot: Any) -> None:
    for frame in (1002, 1004):
        (shot.folder / f"plate.{frame}.exr").unlink()
    assert shot.refused() == (
        "plate.####.exr: expected plate frames 1002, 1004, not found; there are 1001, 1003, 1005",
    )
    assert shot.refused(frames="1001,1003,1005") == (
        "plate.####.exr: expected plate frames 1002, 1004, not found; there are 1001, 1003, 1005; "
        "motion needs every frame from a key to its frames",
    )


def test_many_missing_frames_are_counted(studio: Any) -> None:
    studio.plate([1, 40])
    studio.keys([1])
    assert studio.refused(frames="1-40x2") == (
        "plate.####.exr: expected plate frames 3, 5, 7, 9, 11, 13, 15, 17 and 11 more, not found; there are 1, 40",
    )


def test_missing_keys_are_named(shot: Any) -> None:
    assert shot.refused(interval=2) == ("key.####.exr: expected key frames 1003, not found; there are 1001, 1005",)
    assert shot.refused(key_frames="1001-1005") == (
        "key.####.exr: expected key frames 1002-1004, not found; there are 1001, 1005",
    )


def test_a_missing_key_that_no_frame_needs_is_not_missed(shot: Any) -> None:
    assert check(shot.request(interval=4, frames="1001-1003")).key_frames == (1001, 1005)
    (shot.folder / "key.1001.exr").unlink()
    assert check(shot.request(key_frames="1001,1003,1005", frames="1005")).key_frames == (1005,)


def test_no_files_at_all(shot: Any) -> None:
    assert shot.refused(plate="nothing.####.exr") == (
        "nothing.####.exr: expected plate frames, found none; give the pattern of files that exist",
    )
    assert shot.refused(keys="key.######.exr") == (
        "key.######.exr: expected key frames, found none; did you mean key.####.exr?",
    )


def test_a_pattern_without_a_frame(shot: Any) -> None:
    assert shot.refused(plate="plate.1001.exr") == (
        "plate.1001.exr: expected a frame token like ####, found none: for its sequence type plate.####.exr",
    )


def test_sizes_that_differ(shot: Any) -> None:
    shot.write("plate.1003.exr", shot.channels(np.ones((40, 55))))
    shot.write("key.1005.exr", shot.channels(np.ones((20, 56))))
    assert shot.refused() == (
        "plate.1003.exr: expected 56 x 40 pixels as plate.1001.exr has, got 55 x 40",
        "key.1005.exr: expected 56 x 40 pixels as plate.1001.exr has, got 56 x 20",
    )


def test_windows_that_differ(shot: Any) -> None:
    window = (np.array([0, 0], np.int32), np.array([55, 39], np.int32))
    corner, far = np.array([1, 0], np.int32), np.array([56, 39], np.int32)
    shot.write("plate.1002.exr", shot.channels(shot.light(1002)), dataWindow=(corner, far), displayWindow=window)
    shot.write("key.1005.exr", shot.channels(shot.rgb(1005)), displayWindow=(0 * corner, far))
    assert shot.refused() == (
        "plate.1002.exr: expected data window (0, 0, 55, 39) as plate.1001.exr has, got (1, 0, 56, 39)",
        "key.1005.exr: expected display window (0, 0, 55, 39) as plate.1001.exr has, got (0, 0, 56, 39)",
    )


def test_a_key_outside_the_plate(shot: Any) -> None:
    shot.keys([998, 1001, 1005, 1200])
    message = "key.####.exr: expected keys within the plate's frames 1001-1005, got {}; name the keys with --key-frames"
    assert shot.refused() == (message.format("998, 1200"),)
    assert shot.refused(first_key=998, interval=3) == (message.format("998"),)
    assert shot.refused(key_frames="998,1005", frames="1002") == (message.format("998"),)
    assert check(shot.request(frames="1002")).key_frames == (1001, 1005)


def test_no_key_in_reach(shot: Any) -> None:
    message = (
        "key.####.exr: expected a key before or after every frame (--keys-used {}), there is none for {}; "
        "use --keys-used both, or render fewer --frames"
    )
    assert shot.refused(key_frames="1005", keys_used="previous") == (message.format("previous", "1001-1004"),)
    assert shot.refused(key_frames="1001", keys_used="next") == (message.format("next", "1002-1005"),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"key_frames": "1001", "interval": 4},
            "--key-frames: expected it alone, got --interval or --first-key too; leave one out",
        ),
        (
            {"key_frames": "1001", "first_key": 1001},
            "--key-frames: expected it alone, got --interval or --first-key too; leave one out",
        ),
        ({"first_key": 1001}, "--first-key 1001: expected --interval with it; add --interval K"),
        ({"interval": 0}, "--interval: expected 1 or more frames, got 0"),
        (
            {"interval": 4, "first_key": 1006},
            "--first-key 1006: expected a frame of the plate, which ends at 1005; give an earlier one",
        ),
        (
            {"frames": "1001..1003"},
            "--frames: frames '1001..1003': expected a frame or range like 1001-1100x20 at place 1, "
            "found '1001..1003'; did you mean 1001-1003?",
        ),
        (
            {"key_frames": "x"},
            "--key-frames: frames 'x': expected a frame or range like 1001-1100x20 at place 1, found 'x'",
        ),
        ({"frames": "1004-1006"}, "plate.####.exr: expected plate frames 1006, not found; there are 1001-1005"),
        ({"method": "flo"}, "--method: expected one of aligned, flow, stpn, got 'flo'"),
        ({"keys_used": "all"}, "--keys-used: expected one of both, previous, next, got 'all'"),
        ({"device": "gpu"}, "--device: expected one of auto, cpu, cuda, tensorrt, got 'gpu'"),
        (
            {"device": "cuda"},
            "--device cuda: expected an NVIDIA GPU for torch, there is no driver library libcuda.so.1; "
            "use --device cpu",
        ),
        (
            {"device": "tensorrt"},
            "--device tensorrt: TensorRT: expected the package tensorrt, got: nothing; run: pip install tensorrt, "
            "or go on with --device cpu",
        ),
        (
            {"cuts": "1003;1005"},
            "--cuts: frames '1003;1005': expected a frame or range like 1001-1100x20 at place 1, found '1003;1005'; "
            "or type auto or none",
        ),
        ({"threads": -1}, "--threads: expected 1 or more, or 0 for all processors, got -1"),
        (
            {"compression": "zipp"},
            "--compression: expected one of keep, none, rle, zips, zip, piz, pxr24, b44, b44a, dwaa, dwab, htj2k256, "
            "htj2k32, lj2k, zstd, got 'zipp'",
        ),
        ({"output": "out.####.png"}, "out.####.png: expected .exr as the plate has, or .exr, got .png"),
        ({"output": "out####"}, "out####: expected .exr as the plate has, or .exr, got no extension"),
        ({"confidence": "sure.####.png"}, "sure.####.png: expected .exr for the confidence, got .png"),
        (
            {"output": "plate.####.exr"},
            "--output plate.####.exr: expected a place of its own, got that of --plate",
        ),
        ({"output": "plate.%04d.exr"}, "--output plate.%04d.exr: expected a place of its own, got that of --plate"),
        ({"output": "plate.#.exr"}, "--output plate.#.exr: expected a place of its own, got that of --plate"),
        ({"output": "key.@@@@.exr"}, "--output key.@@@@.exr: expected a place of its own, got that of --keys"),
        ({"output": "key.####.exr", "frames": "1002"}, "--output key.####.exr: expected a place of its own, "
         "got that of --keys"),
        (
            {"confidence": "out.%04d.exr"},
            "--confidence out.%04d.exr: expected a place of its own, got that of --output",
        ),
        ({"output": "plate.1001.exr/out.####.exr"}, "--output plate.1001.exr/out.####.exr: expected a folder that can "
         "be written, plate.1001.exr cannot"),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_one_wrong_option(shot: Any, options: dict[str, Any], message: str) -> None:
    assert shot.refused(**options) == (message,)


@pytest.mark.parametrize("option", ["colorspace", "keys_colorspace", "working"])
def test_an_unknown_space_gets_the_closest_name(shot: Any, option: str) -> None:
    (problem,) = shot.refused(**{option: "ACEScgg"})
    assert "ACEScgg" in problem
    assert "ACEScg," in problem or "'ACEScg'" in problem


def test_an_unknown_config(shot: Any) -> None:
    (problem,) = shot.refused(ocio="nothing.ocio")
    assert "nothing.ocio" in problem


def test_a_folder_that_cannot_be_written(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = shot.folder / "locked"
    locked.mkdir()
    honest = os.access
    # root may write everywhere, so the system is not asked about this folder
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked and honest(path, mode))
    problem = "--output locked/new/out.####.exr: expected a folder that can be written, locked cannot"
    assert shot.refused(output="locked/new/out.####.exr") == (problem,)
    assert not list(locked.iterdir())


def test_an_output_that_reaches_an_input_by_a_link(shot: Any) -> None:
    (shot.folder / "link").symlink_to(shot.folder)
    problem = "--output link/plate.####.exr: expected a place of its own, got that of --plate"
    assert shot.refused(output="link/plate.####.exr") == (problem,)


def test_damaged_files_are_all_named(shot: Any) -> None:
    for name in ("plate.1002.exr", "plate.1004.exr", "key.1005.exr"):
        path = shot.folder / name
        path.write_bytes(path.read_bytes()[:-200])
    (shot.folder / "plate.1003.exr").write_bytes(b"")
    problems = shot.refused()
    assert [problem.split(":")[0] for problem in problems] == [
        "plate.1002.exr", "plate.1003.exr", "plate.1004.exr", "key.1005.exr"
    ]  # fmt: skip
    assert problems[1] == "plate.1003.exr: expected a picture, the file is empty"


def test_many_damaged_files_are_counted(studio: Any) -> None:
    studio.plate(range(1, 13))
    studio.keys([1])
    for frame in range(2, 13):
        (studio.folder / f"plate.{frame:04d}.exr").write_bytes(b"damaged")
    problems = studio.refused()
    assert len(problems) == 9
    assert problems[-1] == "and 3 more like these"


def test_several_wrong_things_at_once(shot: Any) -> None:
    assert shot.refused(device="cuda", threads=-2, compression="dwaa", output="out.####.png", confidence="c.#.tif") == (
        "--threads: expected 1 or more, or 0 for all processors, got -2",
        "--compression dwaa: expected an output of .exr, got .png; leave it out",
        "--device cuda: expected an NVIDIA GPU for torch, there is no driver library libcuda.so.1; use --device cpu",
        "out.####.png: expected .exr as the plate has, or .exr, got .png",
        "c.#.tif: expected .exr for the confidence, got .tif",
    )


def test_frames_whose_color_lies_elsewhere(shot: Any) -> None:
    shot.write("plate.1003.exr", shot.channels(shot.light(1003), names="Y"))
    assert shot.refused() == ("plate.1003.exr: expected R, G, B in part 0 as plate.1001.exr has, found Y in part 0",)
    for frame in range(1001, 1006):
        shot.write(f"plate.{frame}.exr", shot.channels(shot.light(frame), names="Z"))
    (problem,) = shot.refused()
    assert problem == "plate.1001.exr: expected channels R, G, B, or Y alone, found part 0: Z"


def test_frames_of_another_type(shot: Any) -> None:
    # written as the first one, the second key would lose bits without a word
    shot.keys([1005], np.float32)
    shot.plate([1004], np.float32)
    assert shot.refused() == (
        "plate.1004.exr: expected R, G, B of type half, half, half as plate.1001.exr has, found float, float, float",
        "key.1005.exr: expected R, G, B of type half, half, half as key.1001.exr has, found float, float, float",
    )


def test_frames_in_another_space(shot: Any) -> None:
    shot.keys([1005], chromaticities=shot.ap1)
    (problem,) = shot.refused()
    assert problem == (
        "key.1005.exr: expected chromaticities 0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329 as key.1001.exr has, "
        "found 0.713, 0.293, 0.165, 0.83, 0.128, 0.044, 0.3217, 0.3377; name the space with --keys-colorspace"
    )
    assert check(shot.request(keys_colorspace="ACEScg")).prop.keys.space.name == "ACEScg"


def test_what_is_decided_is_said(shot: Any) -> None:
    right = check(shot.request(interval=4, threads=3, keys_colorspace="acescg"))
    assert right.frames == (1001, 1002, 1003, 1004, 1005)
    assert right.key_frames == (1001, 1005)
    assert (right.threads, right.device, type(right.network).__name__) == (3, "cpu", "AlignedFusion")
    assert check(shot.request(method="flow")).network is None
    assert right.decisions == (
        "config: built-in studio-config-v5.0.0_aces-v2.1_ocio-v2.6",
        "plate: Linear Rec.709 (sRGB), chromaticities are those of Rec.709",
        "keys: ACEScg, by --keys-colorspace",
        "cuts: none found",
        "device: cpu, there is no driver library libcuda.so.1",
    )
    assert check(shot.request(device="cpu")).decisions[-1] == "device: cpu, as asked"
    assert check(shot.request()).threads == os.cpu_count()
