"""`--property mask`: mattes and object numbers from one key or several, and what is refused."""

from __future__ import annotations

import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest

from stpn.plugin.lazy_frames import LazyFrames
from stpn.plugin.render import Cancelled, render
from stpn.plugin.shot import check

Array = np.ndarray[Any, Any]


def same_bits(first: Array, second: Array) -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


def write_picture(path: Path, image: Array) -> None:
    """An integer picture (H, W) or (H, W, C), by OpenImageIO itself."""
    image = np.atleast_3d(image)
    spec = oiio.ImageSpec(image.shape[1], image.shape[0], image.shape[2], image.dtype.name)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), spec), output.geterror()
    assert output.write_image(np.ascontiguousarray(image)), output.geterror()
    output.close()


def write_palette(path: Path, image: Array, palette: Array) -> None:
    """An 8-bit PNG of indices (H, W) with a palette (N, 3), as the specification has it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.tobytes() for row in image)
    header = struct.pack(">2I5B", image.shape[1], image.shape[0], 8, 3, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"PLTE", palette.tobytes()) + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b""))


def read_picture(path: Path) -> Array:
    source = oiio.ImageInput.open(str(path))
    assert source is not None, oiio.geterror()
    pixels = np.asarray(source.read_image(source.spec().format))
    source.close()
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


def thing(frame: int, value: float = 1.0) -> Array:
    """The matte (40, 56) of a square that moves with the scene, soft at one side."""
    matte = np.zeros((40, 56))
    top, left = 14 - (frame - 1001), 24 - 2 * (frame - 1001)
    matte[top : top + 16, left : left + 18] = value
    matte[top : top + 16, left + 18] = value / 2
    return matte


@pytest.fixture
def shot(studio: Any) -> Any:
    """A plate of 1001-1005 in which a bright square moves; no keys yet."""
    for frame in range(1001, 1006):
        light = studio.light(frame) * 0.5 + thing(frame)
        studio.write(f"plate.{frame}.exr", studio.channels(light), shot="x12", timeCode=timecode(frame))
    return studio


def timecode(frame: int) -> Any:
    return OpenEXR.TimeCode(1, 2, 3, frame % 24, *[0] * 14)


def options(**more: Any) -> dict[str, Any]:
    return {"property": "mask", "method": "flow", "cuts": "none", "threads": 2, **more}


def test_one_key_makes_mattes_of_all_frames(shot: Any) -> None:
    shot.write("key.1001.exr", {"A": thing(1001).astype(np.float32)})
    done = shot.render(**options(confidence="sure.####.exr"))
    assert [frame.status for frame in done] == ["key", *["carried"] * 4]
    assert same_bits(shot.pixels("out.1001.exr")["A"], shot.pixels("key.1001.exr")["A"])
    for frame in range(1001, 1006):
        found = shot.pixels(f"out.{frame}.exr")
        assert list(found) == ["A"]
        assert found["A"].dtype == np.float32
        assert 0 <= found["A"].min() <= found["A"].max() <= 1
        sure = shot.pixels(f"sure.{frame}.exr")["Y"]
        assert 0 <= sure.min() <= sure.max() <= 1
    moved = thing(1002)
    assert np.abs(shot.pixels("out.1002.exr")["A"] - moved).mean() < 0.5 * np.abs(thing(1001) - moved).mean()


def test_a_matte_file_is_like_the_plates_without_its_color(studio: Any) -> None:
    windows = {
        "dataWindow": (np.array([-7, -3], np.int32), np.array([48, 36], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([49, 29], np.int32)),
    }
    for frame in range(1001, 1004):
        more = {"timeCode": timecode(frame), "shot": "bär", "exposure stops": -1.5}
        channels = {**studio.channels(studio.light(frame)), "Z": np.ones(studio.shape, np.float32)}
        studio.write(f"plate.{frame}.exr", channels, compression=OpenEXR.DWAA_COMPRESSION, **windows, **more)
    studio.write("key.1001.exr", {"A": thing(1001).astype(np.float16)}, **windows)
    studio.render(**options())
    for frame in (1001, 1003):
        plate, found = studio.header(f"plate.{frame}.exr"), studio.header(f"out.{frame}.exr")
        for name in ("dataWindow", "displayWindow", "timeCode", "shot", "exposure stops", "pixelAspectRatio"):
            assert found[name] == plate[name]
        assert "chromaticities" not in found
        assert list(studio.pixels(f"out.{frame}.exr")) == ["A"]


def test_several_objects_and_several_keys(shot: Any) -> None:
    for frame in (1001, 1005):
        two = {"person.left": thing(frame, 0.8), "car": np.flip(thing(frame))}
        shot.write(f"key.{frame}.exr", {name: matte.astype(np.float16) for name, matte in two.items()})
    shot.render(**options())
    for frame in (1001, 1005):
        key, found = shot.pixels(f"key.{frame}.exr"), shot.pixels(f"out.{frame}.exr")
        assert all(same_bits(found[name], key[name]) for name in ("person.left", "car"))
    found = shot.pixels("out.1003.exr")
    assert {name: array.dtype for name, array in found.items()} == {"car": np.float16, "person.left": np.float16}


def test_into_a_copy_of_the_plate(shot: Any) -> None:
    shot.write("key.1001.exr", {"A": thing(1001).astype(np.float16)})
    shot.render(**options(mask_output="plate"))
    for frame in (1001, 1003):
        plate, found = shot.pixels(f"plate.{frame}.exr"), shot.pixels(f"out.{frame}.exr")
        assert list(found) == ["A", "B", "G", "R"]
        assert all(same_bits(found[name], plate[name]) for name in "RGB")
        assert {**shot.header(f"out.{frame}.exr"), "channels": 0} == {
            **shot.header(f"plate.{frame}.exr"),
            "channels": 0,
        }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("grey", [True, False], ids=["grey", "three equal channels"])
def test_png_mattes(shot: Any, dtype: type, grey: bool) -> None:
    most = np.iinfo(dtype).max
    given = np.rint(thing(1001, 0.8) * most).astype(dtype)
    write_picture(shot.folder / "key.1001.png", given if grey else np.dstack([given] * 3))
    shot.render(**options(keys="key.####.png", output="out.####.png"))
    assert same_bits(read_picture(shot.folder / "out.1001.png"), given)
    carried = read_picture(shot.folder / "out.1003.png")
    assert (carried.dtype, carried.shape) == (given.dtype, given.shape)
    assert 0 < carried.max() <= most
    shot.render(**options(keys="key.####.png", frames="1001,1003"))
    found = shot.pixels("out.1001.exr")
    assert list(found) == ["A"]
    assert found["A"].dtype == (np.float16 if dtype == np.uint8 else np.float32)
    np.testing.assert_allclose(found["A"].astype(float), given / most, atol=3e-4)


def test_object_numbers(shot: Any) -> None:
    given = np.zeros(shot.shape, np.uint8)
    given[thing(1001) == 1] = 3
    given[:8, :8] = 200
    write_picture(shot.folder / "grey.1001.png", given)
    palette = np.random.default_rng(1).permutation(256)[:, None].astype(np.uint8) * np.ones(3, np.uint8)
    write_palette(shot.folder / "palette.1001.png", given, palette)
    for name in ("grey", "palette"):
        shot.render(**options(keys=f"{name}.####.png", output=f"{name}_out.####.png", mask_labels=True))
        assert same_bits(read_picture(shot.folder / f"{name}_out.1001.png"), given)
        carried = read_picture(shot.folder / f"{name}_out.1002.png")
        assert (carried.dtype, carried.ndim) == (np.uint8, 2)
        assert set(np.unique(carried)) <= {0, 3, 200}
        assert (carried == 3).sum() > 50
    shot.render(**options(keys="palette.####.png", mask_labels=True, frames="1001-1002"))
    assert same_bits(shot.pixels("out.1001.exr")["label"], given.astype(np.uint32))
    assert (shot.pixels("out.1002.exr")["label"] == read_picture(shot.folder / "palette_out.1002.png")).all()


def test_keys_without_any_object(shot: Any) -> None:
    write_picture(shot.folder / "key.1001.png", np.zeros(shot.shape, np.uint8))
    shot.render(**options(keys="key.####.png", output="out.####.png", mask_labels=True, frames="1001-1002"))
    assert not read_picture(shot.folder / "out.1002.png").any()


def test_any_frame_alone_is_the_same_file(shot: Any) -> None:
    for frame in (1001, 1004):
        shot.write(f"key.{frame}.exr", {"A": thing(frame).astype(np.float16)})
    shot.render(**options(confidence="sure.####.exr"))
    whole = {**shot.contents("out."), **{f"sure.{k}": v for k, v in shot.contents("sure.").items()}}
    for frames in ("1003", "1002,1005"):
        shot.render(**options(frames=frames, output="a/out.####.exr", confidence="a/sure.####.exr", threads=1))
    for name, data in shot.contents("a/").items():
        assert whole[name.removeprefix("out.")] == data
    assert len(shot.contents("a/")) == 6


def test_skipped_and_cancelled(shot: Any) -> None:
    shot.write("key.1001.exr", {"A": thing(1001).astype(np.float16)})
    shot.render(**options(frames="1003"))
    first = shot.files()["out.1003.exr"]
    done = shot.render(**options(skip_existing=True))
    assert [frame.status for frame in done] == ["key", "carried", "skipped", "carried", "carried"]
    assert shot.files()["out.1003.exr"] == first
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        list(render(check(shot.request(**options(output="c.####.exr"))), cancelled))
    assert not shot.contents("c.")


def test_the_network_sees_the_plate_as_people_do(shot: Any) -> None:
    shot.write("key.1001.exr", {"A": thing(1001).astype(np.float16)})
    for frame, factor in ((1001, 40.0), (1002, 40.0)):
        shot.write(f"plate.{frame}.exr", shot.channels(shot.rgb(frame) * factor))
    seen: list[int] = []

    class Frames:
        def plate(self, frame: int, use: Any) -> Any:
            from stpn.ocio.plate import read_plate

            seen.append(frame)
            return use(read_plate(shot.folder / f"plate.{frame}.exr"))

        parallel = staticmethod(map)

    pictures = check(shot.request(**options(frames="1001-1002"))).prop.pictures([1001, 1002], [1001], Frames())
    assert seen == [1001]
    picture = pictures[1002]
    assert (picture.shape, picture.dtype) == ((40, 56, 3), np.float32)
    assert 0 <= picture.min() < 0.5 < picture.max() <= 1
    light = np.clip(shot.rgb(1002) * 40 * 0.9 / np.quantile(shot.light(1001)[::4, ::4] * 40, 0.99), 0, 1)
    code = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)
    assert np.abs(picture - code).max() < 0.01


def test_pictures_are_read_when_asked_for_and_soon_forgotten() -> None:
    read: list[int] = []

    def make(frame: int) -> Array:
        read.append(frame)
        return np.full((1, 1, 3), frame, np.float32)

    frames = LazyFrames(range(1, 100), make, kept=2)
    assert (len(frames), 99 in frames, 100 in frames, read) == (99, True, False, [])
    assert [frames[f][0, 0, 0] for f in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert read == [1, 2, 3, 2]
    with pytest.raises(KeyError):
        frames[100]


def refused(shot: Any, channels: dict[str, Array], **more: Any) -> tuple[str, ...]:
    shot.write("key.1001.exr", channels)
    problems: tuple[str, ...] = shot.refused(**options(**more))
    return problems


def test_keys_that_are_no_mattes(shot: Any) -> None:
    matte = thing(1001).astype(np.float32)
    where = "key.1001.exr: frame 1001, channel A: expected a matte of 0 to 1, found"
    assert refused(shot, {"A": matte * 4 - 1}) == (f"{where} values of -1 to 3; scale or clamp it",)
    broken = matte.copy()
    broken[3, 4:6] = np.nan
    assert refused(shot, {"A": broken}) == (f"{where} 2 pixels that are NaN or infinite; repair them",)
    assert refused(shot, {"R": matte, "G": matte, "B": 1 - matte}) == (
        "key.1001.exr: frame 1001: expected a matte in A, in one channel, or in R, G and B alike, found a picture in "
        "color; write one matte an object, or their numbers as grey values for --mask-labels",
    )
    assert refused(shot, {"id": matte.astype(np.uint32)}) == (
        "key.1001.exr: expected mattes of half or float, found id of type uint32: IDs are no mattes; extract one matte "
        "an object, or give --mask-labels",
    )
    assert refused(shot, {"R": 0 * matte, "G": matte, "B": matte, "A": 0 * matte + 1}) == (
        "key.1001.exr: frame 1001: expected a matte in A, found A = 1 everywhere beside B, G, R; write the matte as "
        "grey, without alpha",
    )
    assert refused(shot, {"A": matte[:20]}) == (
        "key.1001.exr: expected 56 x 40 pixels as plate.1001.exr has, got 56 x 20",
    )


def test_keys_that_are_no_object_numbers(shot: Any) -> None:
    matte = thing(1001)
    assert refused(shot, {"A": matte.astype(np.float32)}, mask_labels=True) == (
        "key.1001.exr: frame 1001, channel A: expected object numbers (--mask-labels), found values that are not "
        "whole; leave --mask-labels out",
    )
    assert refused(shot, {"A": matte.astype(np.float32), "B": matte.astype(np.float32)}, mask_labels=True) == (
        "key.1001.exr: expected one channel of object numbers (--mask-labels), found A, B",
    )
    write_picture(shot.folder / "key.1001.png", np.rint(matte * 300).astype(np.uint16))
    assert shot.refused(**options(keys="key.####.png", mask_labels=True)) == (
        "key.1001.png: frame 1001, channel Y: expected object numbers of 0 to 255 (--mask-labels), found 300; renumber "
        "them",
    )


def test_keys_that_are_not_alike(shot: Any) -> None:
    shot.write("key.1001.exr", {"A": thing(1001).astype(np.float16)})
    shot.write("key.1005.exr", {"B": thing(1005).astype(np.float16)})
    assert shot.refused(**options()) == (
        "key.1005.exr: expected mattes A (half) in part 0 as key.1001.exr has, found B (half) in part 0",
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"output": "out.####.png"}, "out.####.png: expected .exr, got .png"),
        (
            {"method": "stpn"},
            "--method stpn: expected aligned or flow with --property mask: the paper's network is shipped for color "
            "alone",
        ),
        (
            {"keys_colorspace": "ACEScg"},
            "--keys-colorspace: not with --property mask: mattes are no color; leave it out",
        ),
        ({"ldr_curve": "ACEScg"}, "--ldr-curve: not with --property mask: it goes with --property hdr; leave it out"),
        ({"mask_output": "both"}, "--mask-output: expected one of alone, plate, got 'both'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)  # fmt: skip
def test_one_wrong_option(shot: Any, more: dict[str, Any], message: str) -> None:
    shot.write("key.1001.exr", {"A": thing(1001).astype(np.float16)})
    assert shot.refused(**options(**more)) == (message,)
