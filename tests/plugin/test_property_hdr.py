"""`--property hdr`: light beyond white from keys, the plate's own light elsewhere, and what is refused."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest

from stpn.plugin.render import Cancelled, render
from stpn.plugin.shot import check

Array = np.ndarray[Any, Any]
GAIN = 2.0


def same_bits(first: Array, second: Array) -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


def write_png(path: Path, image: Array) -> None:
    spec = oiio.ImageSpec(image.shape[1], image.shape[0], image.shape[2], image.dtype.name)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), spec), output.geterror()
    assert output.write_image(np.ascontiguousarray(image)), output.geterror()
    output.close()


def radiance(studio: Any, frame: int) -> Array:
    """The scene's light: a tenth of it is beyond what the camera holds."""
    return np.asarray(studio.rgb(frame) * GAIN)


def camera(light: Array, dtype: type = np.uint8) -> Array:
    """Code values of a made-up camera that clips at 1."""
    most = np.iinfo(dtype).max
    return np.rint(np.clip(np.maximum(light, 0) ** 0.45, 0, 1) * most).astype(dtype)


@pytest.fixture
def shot(studio: Any) -> Any:
    """An 8-bit plate of 1001-1005 and scene-linear keys at 1001 and 1005."""
    studio.shape = (64, 80)
    for frame in range(1001, 1006):
        write_png(studio.folder / f"plate.{frame}.png", camera(radiance(studio, frame)))
    for frame in (1001, 1005):
        studio.write(f"key.{frame}.exr", studio.channels(radiance(studio, frame)))
    return studio


def options(**more: Any) -> dict[str, Any]:
    return {"property": "hdr", "plate": "plate.####.png", "method": "flow", "cuts": "none", "threads": 2, **more}


def test_light_beyond_white_comes_from_the_keys(shot: Any) -> None:
    done = shot.render(**options(confidence="sure.####.exr"))
    assert [frame.status for frame in done] == ["key", "carried", "carried", "carried", "key"]
    for frame in (1001, 1005):
        key, found = shot.pixels(f"key.{frame}.exr"), shot.pixels(f"out.{frame}.exr")
        assert list(found) == ["B", "G", "R"]
        assert all(same_bits(found[name], key[name]) for name in "RGB")
    truth, found = radiance(shot, 1003), shot.image("out.1003.exr")
    inside = (slice(8, -8), slice(8, -8))
    clipped = truth[inside].max(axis=2) > 1.2
    assert clipped.mean() > 0.02
    error = np.abs(np.log(found[inside] + 0.01) - np.log(truth[inside] + 0.01))
    shown = np.abs(np.log(np.minimum(truth[inside], 1) + 0.01) - np.log(truth[inside] + 0.01))
    assert error[~clipped].mean() < 0.03
    assert error[clipped].mean() < 0.5 * shown[clipped].mean()
    assert found.max() > 1.2
    assert shot.pixels("out.1003.exr")["R"].dtype == np.float16
    sure = shot.pixels("sure.1003.exr")["Y"]
    assert 0 <= sure.min() <= sure.max() <= 1
    assert (shot.pixels("sure.1001.exr")["Y"] == 1).all()


def test_what_an_exr_says_of_its_color_is_true(shot: Any) -> None:
    shot.render(**options(frames="1003"))
    header = shot.header("out.1003.exr")
    np.testing.assert_allclose([float(x) for x in header["chromaticities"]], shot.rec709, atol=1e-6)
    again = check(shot.request(property="hdr", plate="plate.####.png", keys="key.####.exr", method="flow"))
    read = shot.request(plate="out.####.exr", keys="key.####.exr", frames="1003", output="x.####.exr", cuts="none")
    assert again.prop.space.name == "Linear Rec.709 (sRGB)"
    shot.render(**options())
    assert check(read).plate.space.name == "Linear Rec.709 (sRGB)"


def test_another_space_and_a_wider_type(shot: Any) -> None:
    for frame in (1001, 1005):
        shot.write(f"key.{frame}.exr", shot.channels(radiance(shot, frame), np.float32))
    shot.render(**options())
    own = shot.image("out.1003.exr")
    assert shot.pixels("out.1003.exr")["R"].dtype == np.float32
    shot.render(**options(hdr_colorspace="ACEScg", output="ap1.####.exr"))
    for frame, ours in ((1003, own), (1001, shot.image("key.1001.exr"))):
        found = shot.image(f"ap1.{frame}.exr")
        to_ap1, *_ = np.linalg.lstsq(ours.reshape(-1, 3), found.reshape(-1, 3), rcond=None)
        np.testing.assert_allclose(to_ap1[1], [0.3395, 0.9164, 0.1096], atol=2e-3)  # Rec.709's green in AP1
        np.testing.assert_allclose(ours @ to_ap1, found, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose([float(x) for x in shot.header("ap1.1003.exr")["chromaticities"]], shot.ap1, atol=1e-6)


def test_a_curve_that_is_known(studio: Any) -> None:
    studio.shape = (64, 80)
    for frame in range(1001, 1006):
        light = np.clip(radiance(studio, frame), 0, 1)
        code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
        write_png(studio.folder / f"plate.{frame}.png", np.rint(code * 65535).astype(np.uint16))
    for frame in (1001, 1005):
        studio.write(f"key.{frame}.exr", studio.channels(radiance(studio, frame)))
    studio.render(**options(ldr_curve="sRGB - Texture"))
    truth, found = radiance(studio, 1003), studio.image("out.1003.exr")
    known = (truth.max(axis=2) < 0.9) & (truth.min(axis=2) > 0)
    np.testing.assert_allclose(found[known], truth[known], rtol=0.02, atol=1e-3)


def test_a_clipped_exr_plate_keeps_all_else(studio: Any) -> None:
    studio.shape = (64, 80)
    depth = np.random.default_rng(0).normal(size=studio.shape).astype(np.float32)
    for frame in range(1001, 1006):
        light = np.minimum(radiance(studio, frame), 1.0)
        studio.write(
            f"plate.{frame}.exr",
            {**studio.channels(light), "Z": depth, "A": np.ones(studio.shape, np.float16)},
            shot="x12",
            timeCode=OpenEXR.TimeCode(1, 2, 3, frame % 24, *[0] * 14),
        )
    for frame in (1001, 1005):
        studio.write(f"key.{frame}.exr", studio.channels(radiance(studio, frame)))
    studio.render(**options(plate="plate.####.exr"))
    for frame in (1001, 1003):
        before, after = studio.pixels(f"plate.{frame}.exr"), studio.pixels(f"out.{frame}.exr")
        assert list(before) == list(after)
        assert all(same_bits(before[name], after[name]) for name in "AZ")
        assert studio.header(f"plate.{frame}.exr") == studio.header(f"out.{frame}.exr")
    assert studio.image("out.1003.exr").max() > 1.2


def test_any_frame_alone_is_the_same_file(shot: Any) -> None:
    shot.render(**options(confidence="sure.####.exr"))
    whole = {**shot.contents("out."), **{f"sure.{k}": v for k, v in shot.contents("sure.").items()}}
    for frames in ("1003", "1002,1004"):
        shot.render(**options(frames=frames, output="a/out.####.exr", confidence="a/sure.####.exr", threads=1))
    for name, data in shot.contents("a/").items():
        assert whole[name.removeprefix("out.")] == data
    assert len(shot.contents("a/")) == 6


def test_skipped_and_cancelled(shot: Any) -> None:
    shot.render(**options(frames="1003"))
    first = shot.files()["out.1003.exr"]
    done = shot.render(**options(skip_existing=True))
    assert [frame.status for frame in done] == ["key", "carried", "skipped", "carried", "key"]
    assert shot.files()["out.1003.exr"] == first
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        list(render(check(shot.request(**options(output="c.####.exr"))), cancelled))
    assert not shot.contents("c.")


def test_keys_of_another_shot_are_refused_before_anything_is_written(shot: Any) -> None:
    other = np.random.default_rng(0).uniform(0.01, 3, (*shot.shape, 3))
    shot.write("key.1005.exr", shot.channels(other))
    (problem,) = shot.refused(**options())
    assert problem.startswith("key.1005.exr: frame 1005: expected a key that shows what the plate shows")
    before = shot.files()
    done = shot.run(f"--plate={shot.folder}/plate.####.png", "--property", "hdr", "--method", "flow")
    assert (done.code, shot.files()) == (2, before)
    (problem,) = shot.refused(**options(ldr_curve="sRGB - Texture"))
    assert "frame 1005" in problem


def test_keys_that_end_at_white_are_refused(shot: Any) -> None:
    for frame in (1001, 1005):
        write_png(shot.folder / f"key.{frame}.png", camera(radiance(shot, frame)))
    (problem,) = shot.refused(**options(keys="key.####.png"))
    assert problem.startswith(
        "key.1001.png: expected keys of scene-linear light beyond white, such as EXR, got 8-bit PNG in sRGB"
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"output": "out.####.png"}, "out.####.png: expected .exr, which holds light beyond white, got .png"),
        (
            {"hdr_colorspace": "ACEScct"},
            "--hdr-colorspace: expected a scene-linear space, got 'ACEScct', which has a curve; results hold light, so "
            "name a linear one such as ACEScg",
        ),
        (
            {"colorspace": "ACEScg"},
            "--colorspace: not with --property hdr: the plate's code values are taken as they are and its curve is "
            "fitted to the keys; where it is known, name it with --ldr-curve; leave it out",
        ),
        (
            {"adapt": "3", "method": "aligned"},
            "--adapt: not with --property hdr: only the networks for color and mattes can be adapted in this version; "
            "leave it out",
        ),
        (
            {"weights": "x.safetensors"},
            "--weights: expected a method with a network, aligned or stpn, got --method flow; leave one of them out",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_one_wrong_option(shot: Any, more: dict[str, Any], message: str) -> None:
    assert shot.refused(**options(**more)) == (message,)


def test_keys_of_another_size(shot: Any) -> None:
    shot.write("key.1005.exr", shot.channels(np.ones((20, 80, 3))))
    assert shot.refused(**options()) == ("key.1005.exr: expected 80 x 64 pixels as plate.1001.png has, got 80 x 20",)
