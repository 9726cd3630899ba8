"""`--property channels`: any channels by name, bit for bit at keys, beside a plate that stays as it is."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest

from stpn.plugin.properties.blending import from_planes, plan, to_planes
from stpn.plugin.render import Cancelled, render
from stpn.plugin.shot import check

Array = np.ndarray[Any, Any]


def same_bits(first: Array, second: Array) -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


def depth(studio: Any, frame: int) -> Array:
    return np.asarray(5 + 40 * studio.light(frame), np.float32)


def normals(studio: Any, frame: int) -> dict[str, Array]:
    across, down = np.gradient(studio.light(frame))
    return {"N.x": across.astype(np.float16), "N.y": down.astype(np.float16)}


@pytest.fixture
def shot(studio: Any) -> Any:
    """A plate of 1001-1005; keys at 1001 and 1005 with depth, normals and color."""
    studio.plate()
    for frame in (1001, 1005):
        channels = {"depth.Z": depth(studio, frame), **normals(studio, frame), **studio.channels(studio.rgb(frame))}
        studio.write(f"key.{frame}.exr", channels)
    return studio


def options(**more: Any) -> dict[str, Any]:
    return {"property": "channels", "channels": "depth.Z,N.*", "cuts": "none", "threads": 2, **more}


@pytest.mark.parametrize("curve", ["linear", "log"])
def test_channels_follow_the_motion(shot: Any, curve: str) -> None:
    done = shot.render(**options(channels_curve=curve, confidence="sure.####.exr"))
    assert [frame.status for frame in done] == ["key", "carried", "carried", "carried", "key"]
    for frame in range(1001, 1006):
        plate, found = shot.pixels(f"plate.{frame}.exr"), shot.pixels(f"out.{frame}.exr")
        assert list(found) == ["B", "G", "N.x", "N.y", "R", "depth.Z"]
        assert all(same_bits(found[name], plate[name]) for name in "RGB")
        assert (found["depth.Z"].dtype, found["N.x"].dtype) == (np.float32, np.float16)
        assert {**shot.header(f"out.{frame}.exr"), "channels": 0} == {
            **shot.header(f"plate.{frame}.exr"),
            "channels": 0,
        }
        if frame in (1001, 1005):
            key = shot.pixels(f"key.{frame}.exr")
            assert all(same_bits(found[name], key[name]) for name in ("depth.Z", "N.x", "N.y"))
    inside, truth = (slice(6, -6), slice(10, -10)), depth(shot, 1003)
    error = np.abs(shot.pixels("out.1003.exr")["depth.Z"] - truth)[inside].mean()
    assert error < 0.1 * np.abs(depth(shot, 1001) - truth)[inside].mean()
    sure = shot.pixels("sure.1003.exr")["Y"]
    assert 0 <= sure.min() <= sure.max() <= 1
    assert (shot.pixels("sure.1001.exr")["Y"] == 1).all()


@pytest.mark.parametrize("curve", ["linear", "log"])
@pytest.mark.parametrize("sky", [np.inf, 1e10, np.nan], ids=str)
def test_the_sky_stays_sky_and_spoils_nothing(shot: Any, sky: float, curve: str) -> None:
    def with_sky(frame: int) -> Array:
        return np.where(shot.light(frame) < 0.16, np.float32(sky), depth(shot, frame))

    for frame in (1001, 1005):
        shot.write(f"key.{frame}.exr", {"Z": with_sky(frame)})
    shot.render(**options(channels="Z", channels_curve=curve))
    inside = (slice(6, -6), slice(10, -10))
    found, truth = shot.pixels("out.1003.exr")["Z"][inside], with_sky(1003)[inside]
    is_sky, was_sky = ~(np.abs(found) < 1e9), ~(np.abs(truth) < 1e9)
    assert was_sky.mean() > 0.05
    assert (is_sky != was_sky).mean() < 0.02
    assert np.isin(found[is_sky].astype(np.float64), [np.float32(sky)]).all() or np.isnan(sky)
    near = ~is_sky & ~was_sky
    assert np.abs(found[near] - truth[near]).max() < 3
    assert same_bits(shot.pixels("out.1001.exr")["Z"], with_sky(1001))


@pytest.mark.parametrize("log", [False, True], ids=["linear", "log"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32], ids=["half", "float"])
def test_planes_come_back(dtype: type, log: bool) -> None:
    values = (np.random.default_rng(0).normal(size=(9, 11)) * 300).astype(dtype)
    values[0, :5] = np.inf, -np.inf, np.nan, 65504, 0
    values[1, :3] = 1e-3, -1e-3, -65504
    how = plan([values, values[::-1]], "half" if dtype == np.float16 else "float", log=log)
    found = from_planes(to_planes(values, how), how)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, values, rtol=2e-3 if dtype == np.float16 else 1e-5)


def test_numbers_as_large_as_they_get() -> None:
    values = np.full((4, 4), 3e38, np.float32)
    values[:2] = 7.5
    how = plan([values], "float", log=False)
    planes = to_planes(values, how)
    assert np.abs(planes).max() <= 1
    # what is carried as half of each is the nearer kind, never a number between
    assert set(np.unique(from_planes((planes + planes[::-1]) / 2, how))) == {np.float32(7.5)}
    assert same_bits(from_planes(planes, how), values)


def test_channels_that_the_plate_has_are_replaced_whatever_their_type(shot: Any) -> None:
    for frame in range(1001, 1006):
        channels = {"depth.Z": np.ones(shot.shape, np.float16), **shot.channels(shot.light(frame))}
        shot.write(f"plate.{frame}.exr", channels)
    shot.render(**options(channels="depth.*", frames="1001,1003"))
    for frame in (1001, 1003):
        found = shot.pixels(f"out.{frame}.exr")
        assert list(found) == ["B", "G", "R", "depth.Z"]
        assert found["depth.Z"].dtype == np.float32
        assert found["depth.Z"].min() > 4


def test_color_too_may_be_carried_as_numbers(shot: Any) -> None:
    shot.render(**options(channels="R,G,B", channels_curve="log", frames="1003"))
    truth = shot.rgb(1003)
    found = shot.image("out.1003.exr")
    assert np.abs(found - truth)[6:-6, 10:-10].mean() < 0.02 * truth.mean()


def several_parts(studio: Any, frame: int, *, key: bool) -> None:
    header = {
        "type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIPS_COMPRESSION, "chromaticities": studio.rec709,
        "displayWindow": (np.array([0, 0], np.int32), np.array([55, 39], np.int32)),
    }  # fmt: skip
    aux = {"Z": depth(studio, frame) if key else np.zeros(studio.shape, np.float32), "M": np.ones((40, 56), np.float16)}
    other = {"Z": np.full((40, 56), 7, np.float32)}
    parts = [
        OpenEXR.Part(dict(header), studio.channels(studio.light(frame)), "beauty"),
        OpenEXR.Part({**header, "note": "kept"}, aux, "aux"),
        OpenEXR.Part(dict(header), other, "other"),
    ]
    OpenEXR.File(parts).write(str(studio.folder / f"{'key' if key else 'plate'}.{frame}.exr"))


def test_parts_go_to_parts_of_the_same_name(studio: Any) -> None:
    for frame in range(1001, 1006):
        several_parts(studio, frame, key=False)
    for frame in (1001, 1005):
        several_parts(studio, frame, key=True)
    studio.render(**options(channels="aux/Z,R"))
    for frame in (1001, 1003):
        plate, found = f"plate.{frame}.exr", f"out.{frame}.exr"
        assert [list(studio.pixels(found, part)) for part in range(3)] == [["B", "G", "R"], ["M", "Z"], ["Z"]]
        assert [studio.header(found, part) for part in range(3)] == [studio.header(plate, part) for part in range(3)]
        for part, name in ((0, "G"), (1, "M"), (2, "Z")):
            assert same_bits(studio.pixels(found, part)[name], studio.pixels(plate, part)[name])
    assert same_bits(studio.pixels("out.1001.exr", 1)["Z"], studio.pixels("key.1001.exr", 1)["Z"])
    truth = depth(studio, 1003)[6:-6, 10:-10]
    assert np.abs(studio.pixels("out.1003.exr", 1)["Z"][6:-6, 10:-10] - truth).mean() < 1


def test_more_channels_than_opencv_holds(shot: Any) -> None:
    for frame in (1001, 1005):
        shot.write(f"key.{frame}.exr", {f"a{i:03d}": depth(shot, frame) + i for i in range(140)})
    shot.render(**options(channels="a*", frames="1003"))
    found = shot.pixels("out.1003.exr")
    np.testing.assert_allclose(found["a139"] - found["a000"], 139, atol=1e-2)


def test_any_frame_alone_is_the_same_file(shot: Any) -> None:
    shot.render(**options(channels_curve="log", confidence="sure.####.exr"))
    whole = {**shot.contents("out."), **{f"sure.{k}": v for k, v in shot.contents("sure.").items()}}
    for frames in ("1003", "1002,1004"):
        more = {"output": "a/out.####.exr", "confidence": "a/sure.####.exr", "threads": 1}
        shot.render(**options(channels_curve="log", frames=frames, **more))
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


def test_as_a_person_types_it(shot: Any) -> None:
    done = shot.run("--property", "channels", "--channels", "depth.Z,N.*", "--frames", "1001")
    assert done.code == 0
    assert "channels: N.x (half), N.y (half), depth.Z (float)" in done.err.splitlines()
    before = shot.files()
    wrong = shot.run("--property", "channels", "--channels", "deep.Z")
    assert (wrong.code, wrong.out, shot.files()) == (2, "", before)
    assert wrong.err.splitlines()[-1].endswith("got none of that name; did you mean depth.Z?")


WHY = "there is no network for channels: those that there are have learned color, radiance or mattes"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"channels": "depth.z,id*"},
            "--channels depth.z: expected a channel of key.1001.exr, got none of that name; did you mean depth.Z?",
        ),
        (
            {"channels": None},
            "--property channels: expected --channels with the names to carry, such as --channels depth.Z,N.*",
        ),
        ({"method": "aligned"}, f"--method aligned: expected flow with --property channels: {WHY}"),
        ({"method": "stpn"}, f"--method stpn: expected flow with --property channels: {WHY}"),
        ({"adapt": "3"}, f"--adapt: not with --property channels: {WHY}; leave it out"),
        (
            {"mask_labels": True},
            "--mask-labels: not with --property channels: it goes with --property mask; leave it out",
        ),
        ({"channels_curve": "cubic"}, "--channels-curve: expected one of linear, log, got 'cubic'"),
        ({"output": "out.####.png"}, "out.####.png: expected .exr, which holds any channel, got .png"),
        (
            {"property": "color"},
            "--channels: not with --property color: it goes with --property channels; leave it out",
        ),
        ({"property": "colour"}, "--property: expected one of color, hdr, mask, channels, got 'colour'"),
    ],
    ids=lambda value: " ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else "",
)  # fmt: skip
def test_one_wrong_option(shot: Any, more: dict[str, Any], message: str) -> None:
    assert shot.refused(**options(**more))[0] == message


def test_channels_that_hold_ids(shot: Any) -> None:
    ids = {"id": np.ones(shot.shape, np.uint32), "Crypto00.r": np.ones(shot.shape, np.float32), "Z": depth(shot, 1001)}
    for frame in (1001, 1005):
        shot.write(f"key.{frame}.exr", ids, **{"cryptomatte/1a2b3c/name": "Crypto"})
    said = "motion blends values, and a blend of two IDs is a third; leave it out of --channels"
    assert shot.refused(**options(channels="*")) == (
        f"key.1001.exr: expected channels of values, got Crypto00.r, which belongs to the cryptomatte Crypto: {said}",
        f"key.1001.exr: expected channels of values, got id, which is uint32: {said}",
    )
    shot.render(**options(channels="Z", frames="1003"))


def test_keys_that_lack_a_channel_or_have_another_type_or_size(shot: Any) -> None:
    shot.write("key.1005.exr", {"depth.z": depth(shot, 1005), **normals(shot, 1005)})
    assert shot.refused(**options()) == (
        "key.1005.exr: expected channel depth.Z in part 0 as key.1001.exr has; did you mean depth.z?",
    )
    shot.write("key.1005.exr", {"depth.Z": depth(shot, 1005).astype(np.float16), **normals(shot, 1005)})
    assert shot.refused(**options()) == (
        "key.1005.exr: expected depth.Z of type float as key.1001.exr has, found half",
    )
    small = {"depth.Z": depth(shot, 1005), **normals(shot, 1005)}
    shot.write("key.1005.exr", {name: np.ascontiguousarray(array[:20]) for name, array in small.items()})
    assert shot.refused(**options()) == ("key.1005.exr: expected 56 x 40 pixels as plate.1001.exr has, got 56 x 20",)


def test_a_plate_that_is_no_exr(shot: Any) -> None:
    for frame in range(1001, 1006):
        path = str(shot.folder / f"plate.{frame}.png")
        output = oiio.ImageOutput.create(path)
        assert output.open(path, oiio.ImageSpec(56, 40, 3, "uint8"))
        assert output.write_image(np.zeros((40, 56, 3), np.uint8))
        output.close()
    assert shot.refused(**options(plate="plate.####.png")) == (
        "plate.1001.png: expected EXR plate and keys with --property channels, got PNG",
    )
