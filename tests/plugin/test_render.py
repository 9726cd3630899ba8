"""What comes out of a render: identity at keys, luminance, colors, and everything that must not change."""

from __future__ import annotations

from typing import Any

import numpy as np
import OpenEXR
import pytest

Array = np.ndarray[Any, Any]
PRIMARIES = pytest.mark.parametrize("primaries", ["rec709", "ap1"])


def same_bits(first: Array, second: Array) -> bool:
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


def awkward(dtype: type, shape: tuple[int, int], seed: int) -> Array:
    """Bits of all kinds: negative, above 1, 1000, infinite, NaN with payloads, denormal, -0."""
    bits = np.random.default_rng(seed).integers(0, 256, (shape[0], shape[1] * np.dtype(dtype).itemsize), np.uint8)
    values = bits.view(dtype).copy()
    values[0, :3] = -0.5, 1000, -0.0
    return values


@pytest.mark.parametrize("space", ["auto", "ARRI LogC4"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32], ids=["half", "float"])
def test_key_frames_come_out_bit_for_bit(studio: Any, dtype: type, space: str) -> None:
    studio.plate(dtype=dtype)
    given = {}
    for frame in (1001, 1005):
        given[frame] = {name: awkward(dtype, studio.shape, frame + index) for index, name in enumerate("RGB")}
        studio.write(f"key.{frame}.exr", given[frame])
    rendered = studio.render(colorspace=space, keys_colorspace=space)
    assert [(f.frame, f.status) for f in rendered if f.frame in given] == [(1001, "key"), (1005, "key")]
    for frame, channels in given.items():
        found = studio.pixels(f"out.{frame}.exr")
        assert all(same_bits(found[name], channels[name]) for name in "RGB")
    if space == "auto":  # random bits as log codes are light beyond all numbers
        for frame in (1002, 1003, 1004):
            assert np.isfinite(studio.image(f"out.{frame}.exr")).all()


@pytest.mark.parametrize(("plate_type", "key_type"), [(np.float16, np.float32), (np.float32, np.float16)])
def test_the_wider_type_of_plate_and_keys_is_written(studio: Any, plate_type: type, key_type: type) -> None:
    studio.plate(dtype=plate_type)
    studio.keys(dtype=key_type)
    studio.render()
    key, found = studio.pixels("key.1001.exr"), studio.pixels("out.1001.exr")
    assert all(same_bits(found[name], key[name].astype(np.float32)) for name in "RGB")
    assert {channel.dtype for channel in studio.pixels("out.1003.exr").values()} == {np.dtype(np.float32)}
    light = studio.pixels("plate.1003.exr")["R"]
    assert studio.luminance_error(studio.image("out.1003.exr"), light) < 1e-5


def test_integers_beyond_half_floats_become_float(studio: Any) -> None:
    studio.exposure = 1e6
    studio.plate(dtype=np.uint32)
    studio.keys(dtype=np.uint32)
    studio.render()
    light = studio.pixels("plate.1003.exr")["R"]
    assert light.max() > 65504
    assert studio.luminance_error(studio.image("out.1003.exr"), light) < 1e-5
    assert (studio.image("out.1001.exr") == studio.image("key.1001.exr")).all()


def test_colors_follow_the_motion(studio: Any) -> None:
    studio.plate()
    studio.keys()
    studio.render(confidence="sure.####.exr")
    inside = (slice(6, -6), slice(10, -10))
    for frame in (1002, 1003, 1004):
        truth = studio.rgb(frame)[inside]
        error = np.abs(studio.image(f"out.{frame}.exr")[inside] - truth).mean()
        copied = np.abs(studio.rgb(1001 if frame < 1003 else 1005)[inside] - truth).mean()
        assert error < 0.1 * copied
        assert studio.pixels(f"sure.{frame}.exr")["Y"][inside].mean() > 0.8


@PRIMARIES
@pytest.mark.parametrize(("dtype", "limit"), [(np.float16, 1e-3), (np.float32, 1e-5)], ids=["half", "float"])
@pytest.mark.parametrize("exposure", [1, 16])
def test_luminance_is_the_plates(studio: Any, primaries: str, dtype: type, limit: float, exposure: int) -> None:
    chromaticities = getattr(studio, primaries)
    plates = {}
    for frame in range(1001, 1006):
        light = studio.light(frame) * exposure
        light[5:9, 7:12] = -0.5
        light[20:24, 30:40] = 1000
        light[30, 3] = 0
        plates[frame] = studio.channels(light, dtype)
        studio.write(f"plate.{frame}.exr", plates[frame], chromaticities=chromaticities)
    studio.keys(dtype=dtype, chromaticities=chromaticities)
    studio.render()
    for frame in (1002, 1003, 1004):
        found = studio.pixels(f"out.{frame}.exr")
        assert {found[name].dtype for name in "RGB"} == {np.dtype(dtype)}
        error = studio.luminance_error(studio.image(f"out.{frame}.exr"), plates[frame]["R"], chromaticities)
        assert error < limit
        spread = np.ptp(studio.image(f"out.{frame}.exr"), axis=2)
        assert np.median(spread) > 0.05 * np.median(plates[frame]["R"]), "the result is grey"


@pytest.mark.parametrize("exposure", [16, 0.05], ids=["brighter", "darker"])
def test_a_plate_of_another_exposure_than_its_keys_gets_the_same_colors(studio: Any, exposure: float) -> None:
    studio.keys(dtype=np.float32)
    studio.plate(dtype=np.float32)
    studio.render()
    same = {frame: studio.image(f"out.{frame}.exr") for frame in (1002, 1003, 1004)}
    studio.exposure = exposure
    studio.plate(dtype=np.float32)
    studio.render()
    for frame, expected in same.items():
        ratio = studio.image(f"out.{frame}.exr") / expected / exposure
        assert np.median(np.abs(ratio - 1)) < 0.02


def test_a_plate_that_is_colored_already_gives_its_luminance_only(studio: Any) -> None:
    studio.keys(dtype=np.float32)
    tint = np.random.default_rng(3).uniform(0.5, 1.5, (*studio.shape, 3))
    for frame in range(1001, 1006):
        studio.write(f"plate.{frame}.exr", studio.channels(studio.light(frame)[..., None] * tint, np.float32))
    studio.render(frames="1003")
    light = studio.image("plate.1003.exr") @ studio.weights(studio.rec709)
    assert studio.luminance_error(studio.image("out.1003.exr"), light) < 1e-5


def rich_plate(studio: Any, frame: int) -> None:
    """Color in the middle of much else: alpha, depth, an ID, a layer; a second part; windows that start below 0."""
    shape = studio.shape
    windows = {
        "dataWindow": (np.array([-7, -3], np.int32), np.array([shape[1] - 8, shape[0] - 4], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([49, 29], np.int32)),
    }
    header = {"type": OpenEXR.scanlineimage, "chromaticities": studio.rec709, **windows}
    first = {
        **header,
        "compression": OpenEXR.PIZ_COMPRESSION,
        "lineOrder": OpenEXR.DECREASING_Y,
        "timeCode": OpenEXR.TimeCode(1, 2, 3, frame % 24, *[0] * 14),
        "shot": f"bär {frame}",
        "empty": "",
        "exposure stops": -1.5,
    }
    channels = {
        "A": awkward(np.float16, shape, 1),
        "Z": awkward(np.float32, shape, 2),
        "id": awkward(np.uint32, shape, 3),
        "diffuse.R": awkward(np.float16, shape, 4),
        **studio.channels(studio.light(frame)),
    }
    smooth = (np.linspace(0, 1, shape[0] * shape[1]).reshape(shape) ** 2).astype(np.float16)
    second = {**header, "compression": OpenEXR.DWAA_COMPRESSION, "note": "second"}
    OpenEXR.File(
        [OpenEXR.Part(first, channels, "beauty"), OpenEXR.Part(second, {"R": smooth, "M": smooth}, "more")]
    ).write(str(studio.folder / f"plate.{frame}.exr"))
    if frame in (1001, 1005):
        studio.write(f"key.{frame}.exr", studio.channels(studio.rgb(frame)), **windows)


@pytest.mark.parametrize("frame", [1001, 1003], ids=["key frame", "carried frame"])
def test_everything_else_of_the_plate_stays_bit_for_bit(studio: Any, frame: int) -> None:
    for number in range(1001, 1006):
        rich_plate(studio, number)
    studio.render(frames=str(frame))
    source, result = f"plate.{frame}.exr", f"out.{frame}.exr"
    for part in (0, 1):
        header = studio.header(source, part)
        assert header["dataWindow"] == ([-7, -3], [48, 36])
        assert studio.header(result, part) == header
        before, after = studio.pixels(source, part), studio.pixels(result, part)
        assert list(before) == list(after)
        same = {name for name in before if same_bits(before[name], after[name])}
        assert same == set(before) - ({"R", "G", "B"} if part == 0 else set())
    if frame == 1001:
        key = studio.pixels("key.1001.exr")
        assert all(same_bits(studio.pixels(result)[name], key[name]) for name in "RGB")


def test_the_color_may_lie_in_another_part_than_the_first(studio: Any) -> None:
    header = {
        "type": OpenEXR.scanlineimage,
        "compression": OpenEXR.ZIPS_COMPRESSION,
        "chromaticities": studio.rec709,
        "displayWindow": (np.array([0, 0], np.int32), np.array([55, 39], np.int32)),
    }
    small = np.arange(12, dtype=np.float32).reshape(3, 4)
    for frame in range(1001, 1006):
        parts = [
            OpenEXR.Part(dict(header), {"Z": small}, "small"),
            OpenEXR.Part(dict(header), studio.channels(studio.light(frame)), "beauty"),
        ]
        OpenEXR.File(parts).write(str(studio.folder / f"plate.{frame}.exr"))
    studio.keys()
    studio.render(confidence="sure.####.exr")
    assert same_bits(studio.pixels("out.1003.exr", 0)["Z"], small)
    assert studio.luminance_error(studio.image("out.1003.exr", 1), studio.pixels("plate.1003.exr", 1)["R"]) < 1e-3
    again = studio.render(confidence="sure.####.exr", skip_existing=True)
    assert {frame.status for frame in again} == {"skipped"}


def test_a_plate_of_luminance_alone_becomes_red_green_and_blue(studio: Any) -> None:
    for frame in range(1001, 1006):
        channels = {**studio.channels(studio.light(frame), names="Y"), "A": awkward(np.float16, studio.shape, 1)}
        studio.write(f"plate.{frame}.exr", channels)
    studio.keys()
    studio.render()
    for frame in range(1001, 1006):
        plate, found = studio.pixels(f"plate.{frame}.exr"), studio.pixels(f"out.{frame}.exr")
        assert list(found) == ["A", "B", "G", "R"]
        assert same_bits(found["A"], plate["A"])
        if frame in (1001, 1005):
            assert all(same_bits(found[name], studio.pixels(f"key.{frame}.exr")[name]) for name in "RGB")
        else:
            assert studio.luminance_error(studio.image(f"out.{frame}.exr"), plate["Y"]) < 1e-3


def test_keys_of_luminance_alone_come_out_grey(studio: Any) -> None:
    studio.plate()
    for frame in (1001, 1005):
        studio.write(f"key.{frame}.exr", studio.channels(studio.light(frame), names="Y"))
    studio.render()
    given = studio.pixels("key.1001.exr")["Y"]
    assert all(same_bits(studio.pixels("out.1001.exr")[name], given) for name in "RGB")
    result = studio.image("out.1003.exr")
    assert np.ptp(result, axis=2).max() <= 1e-3 * result.max()


@pytest.fixture
def long_shot(studio: Any) -> Any:
    """Eleven frames, three keys, frames before the first and after the last; brighter than what is matched."""
    studio.exposure = 30.0
    studio.plate(range(1, 12))
    studio.keys((3, 6, 8))
    return studio


@pytest.fixture
def whole(long_shot: Any) -> dict[str, bytes]:
    """The files of the long shot rendered in one go, results and confidence."""
    long_shot.render(confidence="sure.####.exr", threads=2)
    return {**long_shot.contents("out."), **{f"sure {k}": v for k, v in long_shot.contents("sure.").items()}}


def test_any_frame_alone_is_the_same_file(long_shot: Any, whole: dict[str, bytes]) -> None:
    assert len(whole) == 22
    for frame in range(1, 12):
        long_shot.render(frames=str(frame), output=f"alone{frame}/out.####.exr", confidence=f"alone{frame}/s.####.exr")
        name = f"{frame:04d}.exr"
        assert long_shot.contents(f"alone{frame}/") == {f"out.{name}": whole[name], f"s.{name}": whole[f"sure {name}"]}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("chunks", [["1-11"], ["9-11", "4-8", "1-3"], ["2-10x2", "1-11x2"]], ids=" then ".join)
def test_chunks_and_threads_do_not_change_a_bit(
    long_shot: Any, whole: dict[str, bytes], chunks: list[str], threads: int
) -> None:
    for chunk in chunks:
        long_shot.render(frames=chunk, threads=threads, output="again.####.exr", confidence="sure again.####.exr")
    again = long_shot.contents("sure again.")
    assert {**long_shot.contents("again."), **{f"sure {name}": data for name, data in again.items()}} == whole


def test_a_chunk_needs_only_its_plate_frames_and_the_keys_around(long_shot: Any, whole: dict[str, bytes]) -> None:
    for frame in (1, 2, 3, 4, 5, 9, 10, 11):
        (long_shot.folder / f"plate.{frame:04d}.exr").unlink()
    (long_shot.folder / "key.0003.exr").unlink()
    long_shot.render(frames="6-7", output="chunk.####.exr", key_frames="3,6,8")
    assert long_shot.contents("chunk.") == {name: whole[name] for name in ("0006.exr", "0007.exr")}


def test_frames_that_are_there_already_do_not_change_the_others(long_shot: Any, whole: dict[str, bytes]) -> None:
    for frame in (2, 5, 6, 9):
        (long_shot.folder / f"out.{frame:04d}.exr").unlink()
    rendered = long_shot.render(confidence="sure.####.exr", skip_existing=True)
    made = {frame.frame: frame.status for frame in rendered if frame.status != "skipped"}
    assert made == {2: "carried", 5: "carried", 6: "key", 9: "carried"}
    assert long_shot.contents("out.") == {k: v for k, v in whole.items() if not k.startswith("sure")}


@pytest.mark.parametrize(
    ("used", "keys_of_frames"),
    [
        ("both", {1: (3,), 2: (3,), 3: (3,), 4: (3, 6), 6: (6,), 7: (6, 8), 11: (8,)}),
        ("previous", {3: (3,), 4: (3,), 5: (3,), 6: (6,), 7: (6,), 11: (8,)}),
        ("next", {1: (3,), 2: (3,), 3: (3,), 4: (6,), 6: (6,), 7: (8,)}),
    ],
)
def test_the_keys_that_serve_a_frame(long_shot: Any, used: str, keys_of_frames: dict[int, tuple[int, ...]]) -> None:
    frames = ",".join(str(frame) for frame in keys_of_frames)
    rendered = long_shot.render(frames=frames, keys_used=used)
    assert {frame.frame: frame.keys for frame in rendered} == keys_of_frames


def test_a_key_that_is_not_used_leaves_no_trace(long_shot: Any) -> None:
    long_shot.render(frames="4", keys_used="previous", output="a.####.exr")
    black = np.zeros((*long_shot.shape, 3))
    long_shot.write("key.0006.exr", long_shot.channels(black))
    long_shot.write("key.0008.exr", long_shot.channels(black))
    long_shot.render(frames="4", keys_used="previous", output="b.####.exr")
    assert long_shot.contents("a.") == long_shot.contents("b.")


def test_negative_frame_numbers_and_holes_in_the_plate(studio: Any) -> None:
    studio.plate([*range(-3, 3), 7, 8, 9])
    studio.keys([-2, 1, 7])
    rendered = studio.render(frames="-3-1,7-9")
    assert [frame.frame for frame in rendered] == [-3, -2, -1, 0, 1, 7, 8, 9]
    assert {frame.frame: frame.keys for frame in rendered}[-1] == (-2, 1)


@pytest.mark.parametrize("shape", [(1, 1), (5, 40), (40, 5), (31, 33), (33, 32)], ids=str)
@pytest.mark.parametrize("method", ["flow", "stpn"])
def test_frames_of_any_size_work(studio: Any, shape: tuple[int, int], method: str) -> None:
    studio.shape = shape
    studio.plate(range(1001, 1004))
    studio.keys((1001, 1003))
    studio.render(method=method)
    light = studio.pixels("plate.1002.exr")["R"]
    assert studio.image("out.1002.exr").shape == (*shape, 3)
    assert studio.luminance_error(studio.image("out.1002.exr"), light) < 1e-3


@pytest.mark.parametrize("method", ["flow", "aligned"])
def test_confidence_is_within_0_and_1_and_1_at_keys(studio: Any, method: str) -> None:
    studio.plate()
    studio.keys()
    cut = studio.light(1001) * np.random.default_rng(0).uniform(0.1, 3, studio.shape)
    studio.write("plate.1003.exr", studio.channels(cut))
    rendered = {frame.frame: frame for frame in studio.render(confidence="sure/c.####.exr", method=method, cuts="none")}
    sure = {frame: studio.pixels(f"sure/c.{frame}.exr")["Y"] for frame in rendered}
    for frame, values in sure.items():
        assert values.dtype == np.float16
        assert values.min() >= 0
        assert values.max() <= 1
        assert abs(float(values.mean(dtype=np.float64)) - rendered[frame].confidence) < 1e-3
    assert (sure[1001] == 1).all()
    # of `flow` it is how far motion is to be trusted; of `aligned` the chance of an error below 5 in ab, whatever moved
    assert sure[1003].mean() < (0.2 if method == "flow" else 0.9) < sure[1002].mean()


def test_confidence_has_the_windows_of_the_plate(studio: Any) -> None:
    for number in range(1001, 1006):
        rich_plate(studio, number)
    studio.render(frames="1001-1002", confidence="sure.####.exr")
    for frame in (1001, 1002):
        sure = studio.header(f"sure.{frame}.exr")
        assert (sure["dataWindow"], sure["displayWindow"]) == (([-7, -3], [48, 36]), ([0, 0], [49, 29]))
