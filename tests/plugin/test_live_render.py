"""Single frames for a host: bit for bit what `stpn propagate` makes of the same frames, whoever asks in which order."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stpn.engine.carriers import AlignedCarrier
from stpn.ocio.config import ColorError
from stpn.ocio.plate import new_plate, read_plate, write_plate
from stpn.plugin import live_render, live_span
from stpn.plugin.live_job import Job, read_job
from stpn.plugin.live_pictures import PictureInfo
from stpn.plugin.live_render import Renderer
from stpn.plugin.reading import Cancelled
from stpn.plugin.render import render
from stpn.plugin.request import Request, RequestError
from stpn.plugin.shot import check

Array = NDArray[Any]
Channels = dict[str, Array]

HEIGHT, WIDTH = 67, 90
FIRST, LAST = 1001, 1009
KINDS = {"float32": "float", "float16": "half", "uint8": "uint8", "uint16": "uint16"}


def texture() -> Array:
    noise = np.random.default_rng(5).random((HEIGHT + 40, WIDTH + 40, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2.5) * 4 - 1.6, 0, None) * np.float32(1.1)


TEXTURE = texture()


def light(frame: int) -> Array:
    """(H, W, 3) float32 scene-linear light of a picture that moves."""
    at = frame - FIRST
    return np.ascontiguousarray(TEXTURE[at : at + HEIGHT, 2 * at : 2 * at + WIDTH])


def plate(frame: int) -> Channels:
    grey = light(frame) @ np.float32([0.3, 0.6, 0.1])
    return {"R": grey, "G": grey, "B": grey}


def colors(frame: int) -> Channels:
    image = light(frame)
    return {name: np.ascontiguousarray(image[..., index]) for index, name in enumerate("RGB")}


def clipped(frame: int) -> Channels:
    return {name: np.minimum(plane * np.float32(0.9), np.float32(1)) for name, plane in colors(frame).items()}


def matte(frame: int) -> Channels:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(rows - 30 + (frame - FIRST), columns - 40 + 2 * (frame - FIRST))
    return {"A": np.clip(14 - distance, 0, 1).astype(np.float32)}


class Scene:
    """Frames as a host has them, and the same frames in files."""

    def __init__(self, folder: Path, source: Any, keys: Any, key_frames: tuple[int, ...], dtype: Any = None) -> None:
        """With a type, the frames are written as EXR of that type; without, they stay as they are, in TIFF."""
        self.folder, self.key_frames = folder, key_frames
        self.pictures: dict[str, tuple[PictureInfo, Mapping[str, Array]]] = {}
        self.ids: dict[tuple[str, int], str] = {}
        for name, make, frames in (("s", source, range(FIRST, LAST + 1)), ("k", keys, key_frames)):
            for frame in frames:
                planes = {channel: plane.astype(dtype or plane.dtype) for channel, plane in make(frame).items()}
                self.add(name, frame, planes)
                if dtype:
                    write_plate(folder / f"{name}.{frame:04d}.exr", new_plate(planes))
                else:
                    cv2.imwrite(str(folder / f"{name}.{frame:04d}.tif"), cv2.merge([planes[n] for n in "BGR"]))

    def add(self, name: str, frame: int, planes: Channels) -> str:
        """A picture, by an ID that depends on its pixels, which is returned."""
        plane = next(iter(planes.values()))
        info = PictureInfo(plane.shape[1], plane.shape[0], KINDS[plane.dtype.name], "".join(planes))
        digest = hashlib.sha256(repr(info).encode() + b"".join(p.tobytes() for p in planes.values())).hexdigest()[:32]
        self.pictures[digest] = info, planes
        self.ids[name, frame] = digest
        return digest

    def job(
        self, frame: int, want: str = "float RGB", extra: tuple[tuple[str, str], ...] = (), **values: object
    ) -> Job:
        """The job of a frame with what a host would send for it."""
        around = [frame] if frame in self.key_frames else self.around(frame)
        reach = range(min(frame, *around), max(frame, *around) + 1)
        sources, keys = [(f, self.ids["s", f]) for f in reach], [(f, self.ids["k", f]) for f in around]
        lines = [("frame", str(frame)), ("want", want), *extra]
        lines += [("parameter", f"{name} {value}") for name, value in values.items()]
        lines += self.described({name for _, name in sources + keys} | {v for n, v in extra if n == "matte"})
        lines += [("source", f"{f} {name}") for f, name in sources] + [("key", f"{f} {name}") for f, name in keys]
        return read_job(lines)

    def described(self, names: Iterable[str]) -> list[tuple[str, str]]:
        infos = {name: self.pictures[name][0] for name in names}
        return [("picture", f"{name} {i.width} {i.height} {i.type} {i.channels}") for name, i in infos.items()]

    def around(self, frame: int) -> list[int]:
        before = [key for key in self.key_frames if key < frame]
        after = [key for key in self.key_frames if key > frame]
        return before[-1:] + after[:1]

    def rendered(self, renderer: Renderer, job: Job) -> live_render.Rendered:
        return renderer.render(job, {name: self.pictures[name] for name in job.pictures}, threading.Event(), quiet)

    def propagated(self, **values: Any) -> dict[int, Channels]:
        """What `stpn propagate` makes of the files, by frame."""
        names = {name: str(self.folder / f"{name}.####.exr") for name in ("s", "k", "o")}
        shot = check(Request(names["s"], names["k"], names["o"], **values))
        return {frame.frame: read_plate(frame.path).part_pixels(0) for frame in render(shot)}


def quiet(done: float, what: str) -> None:
    assert 0 <= done <= 1


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    made = Renderer(1 << 30)
    yield made
    made.close()


CASES = {
    "color": (plate, colors, {"property": "color"}),
    "color flow": (plate, colors, {"property": "color", "method": "flow"}),
    "color log": (plate, colors, {"property": "color", "working": "ACEScct"}),
    "color stpn": (plate, colors, {"property": "color", "method": "stpn"}),
    "color spaces": (plate, colors, {"property": "color", "colorspace": "ACEScct", "keys_colorspace": "ACEScg"}),
    "hdr": (clipped, colors, {"property": "hdr"}),
    "hdr curve": (clipped, colors, {"property": "hdr", "ldr_curve": "ACEScg", "method": "flow"}),
    "mask": (colors, matte, {"property": "mask"}),
    "mask flow": (colors, matte, {"property": "mask", "method": "flow"}),
    "channels": (plate, colors, {"property": "channels"}),
    "channels log": (plate, colors, {"property": "channels", "channels_curve": "log"}),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("name", CASES)
def test_pixels_are_those_of_propagate(name: str, dtype: Any, renderer: Renderer, tmp_path: Path) -> None:
    source, keys, values = CASES[name]
    scene = Scene(tmp_path, source, keys, (FIRST, 1005, LAST), dtype)
    kind = KINDS[np.dtype(dtype).name]
    want = f"{kind} {'A' if keys is matte else 'RGB'}"
    more = {"channels": "R,G,B"} if values["property"] == "channels" else {}
    expected = scene.propagated(**values, **more)
    for frame in (1007, 1002, 1001, 1003, 1005, 1008, 1004):
        made = scene.rendered(renderer, scene.job(frame, want, **values))
        for channel, plane in made.planes.items():
            assert plane.dtype == dtype
            np.testing.assert_array_equal(plane, expected[frame][channel], f"{frame} {channel}")
        assert set(made.planes) == set(want.split()[1])


@pytest.mark.parametrize("keys", [(FIRST,), (LAST,)])
def test_frames_beyond_the_last_key_are_carried_from_it(keys: Any, renderer: Renderer, tmp_path: Path) -> None:
    scene = Scene(tmp_path, plate, colors, keys, np.float32)
    expected = scene.propagated()
    for frame in (1003, 1007, 1005):
        made = scene.rendered(renderer, scene.job(frame))
        np.testing.assert_array_equal(made.planes["G"], expected[frame]["G"])


def test_integers_are_those_of_an_integer_file(renderer: Renderer, tmp_path: Path) -> None:
    def codes(make: Any) -> Any:
        return lambda frame: {n: np.rint(np.clip(p, 0, 1) * 255).astype(np.uint8) for n, p in make(frame).items()}

    scene = Scene(tmp_path, codes(plate), codes(colors), (FIRST, LAST))
    names = {name: str(tmp_path / f"{name}.####.tif") for name in ("s", "k", "o")}
    for done in render(check(Request(names["s"], names["k"], names["o"]))):
        made = scene.rendered(renderer, scene.job(done.frame, "uint8 RGB"))
        for channel in "RGB":
            np.testing.assert_array_equal(made.planes[channel], read_plate(done.path).pixels(channel))


def test_object_numbers_come_out_whole(renderer: Renderer, tmp_path: Path) -> None:
    def numbers(frame: int) -> Channels:
        return {"A": np.where(matte(frame)["A"] > 0.5, 3, 0).astype(np.float32)}

    scene = Scene(tmp_path, colors, numbers, (FIRST, LAST), np.float32)
    job = scene.job(1004, "float A", property="mask", mask_labels=1)
    made = scene.rendered(renderer, job).planes["A"]
    assert set(np.unique(made)) == {0, 3}
    assert set(
        np.unique(scene.rendered(renderer, scene.job(1004, "uint8 A", property="mask", mask_labels=1)).planes["A"])
    ) == {0, 3}


def test_a_single_matte_fills_a_picture_without_alpha(renderer: Renderer, tmp_path: Path) -> None:
    scene = Scene(tmp_path, colors, matte, (FIRST, LAST), np.float32)
    alone = scene.rendered(renderer, scene.job(1004, "float A", property="mask")).planes["A"]
    made = scene.rendered(renderer, scene.job(1004, "float RGB", property="mask")).planes
    assert all(np.array_equal(made[name], alone) for name in "RGB")
    assert list(scene.rendered(renderer, scene.job(1004, "float RGBA", property="mask")).planes) == ["A"]


def test_confidence_mix_and_matte(renderer: Renderer, tmp_path: Path) -> None:
    scene = Scene(tmp_path, plate, colors, (FIRST, LAST), np.float32)
    matte_id = scene.add("m", 1004, matte(1004))
    whole = scene.rendered(renderer, scene.job(1004))
    sure = scene.rendered(renderer, scene.job(1004, output="confidence")).planes["R"]
    assert abs(float(sure.mean()) - whole.confidence) < 1e-6
    assert (scene.rendered(renderer, scene.job(FIRST, output="confidence")).planes["G"] == 1).all()
    before = plate(1004)["R"]
    half = scene.rendered(renderer, scene.job(1004, mix=0.25)).planes["R"]
    np.testing.assert_allclose(half, before + (whole.planes["R"] - before) * 0.25, atol=1e-6)
    share = matte(1004)["A"]
    limited = scene.rendered(renderer, scene.job(1004, extra=(("matte", matte_id),))).planes["R"]
    np.testing.assert_array_equal(limited[share == 0], before[share == 0])
    np.testing.assert_array_equal(limited[share == 1], whole.planes["R"][share == 1])
    assert ((share > 0) & (share < 1)).any()


def test_a_matte_of_another_size_is_refused(renderer: Renderer, tmp_path: Path) -> None:
    scene = Scene(tmp_path, plate, colors, (FIRST, LAST), np.float32)
    matte_id = scene.add("m", 1004, {"A": matte(1004)["A"][:1].copy()})
    with pytest.raises(RequestError, match=rf"Matte: expected {WIDTH} x {HEIGHT} pixels .* got {WIDTH} x 1"):
        scene.rendered(renderer, scene.job(1004, extra=(("matte", matte_id),)))


def test_what_a_host_says_of_its_colors_holds_where_nobody_says_otherwise(renderer: Renderer, tmp_path: Path) -> None:
    scene = Scene(tmp_path, plate, colors, (FIRST, LAST), np.float32)
    said = (("colorspace", "ACEScct"), ("keys_colorspace", "ACEScct"))
    made = scene.rendered(renderer, scene.job(1004, extra=said)).planes["R"]
    named = scene.rendered(renderer, scene.job(1004, colorspace="ACEScct", keys_colorspace="ACEScct")).planes["R"]
    other = scene.rendered(renderer, scene.job(1004, extra=said, colorspace="ACEScg", keys_colorspace="ACEScg")).planes[
        "R"
    ]
    plain = scene.rendered(renderer, scene.job(1004)).planes["R"]
    np.testing.assert_array_equal(made, named)
    np.testing.assert_array_equal(other, plain)
    assert not np.array_equal(made, plain)


def test_motion_is_estimated_once_for_a_span(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path, plate, colors, (FIRST, LAST), np.float32)
    opened: list[int] = []
    honest = live_span.open_property
    monkeypatch.setattr(live_span, "open_property", lambda material: opened.append(1) or honest(material))
    made = Renderer(1 << 30)
    for frame in (1004, 1007, 1002):
        scene.rendered(made, scene.job(frame))
    scene.rendered(made, scene.job(1004, mix=0.5))
    assert len(opened) == 1
    carried: list[int] = []
    honest_carry = AlignedCarrier.carry
    monkeypatch.setattr(AlignedCarrier, "carry", lambda self, frame: carried.append(frame) or honest_carry(self, frame))
    scene.rendered(made, scene.job(1004, mix=0.25))
    scene.rendered(made, scene.job(1004, output="confidence"))
    assert carried == []
    scene.rendered(made, scene.job(1003))
    assert carried == [1003]
    scene.rendered(made, scene.job(1004, method="flow"))
    assert len(opened) == 2
    assert made.in_use() == set(scene.pictures)
    assert made.forget()
    assert made.forget()
    assert not made.forget()
    assert made.in_use() == set()
    made.close()


def test_without_memory_for_shared_motion_the_pixels_are_the_same(renderer: Renderer, tmp_path: Path) -> None:
    scene = Scene(tmp_path, plate, colors, (FIRST, LAST), np.float32)
    small = Renderer(1)
    for frame in (1004, 1006):
        expected = scene.rendered(renderer, scene.job(frame)).planes["B"]
        np.testing.assert_array_equal(scene.rendered(small, scene.job(frame)).planes["B"], expected)
    small.close()


def test_many_at_once_get_the_same_pixels(tmp_path: Path) -> None:
    scene = Scene(tmp_path, plate, colors, (FIRST, 1005, LAST), np.float32)
    made = Renderer(1 << 30)
    expected = scene.propagated()
    frames = list(np.random.default_rng(1).integers(FIRST, LAST + 1, 40))
    with ThreadPoolExecutor(6) as pool:
        for frame, found in zip(
            frames, pool.map(lambda f: scene.rendered(made, scene.job(int(f))), frames), strict=True
        ):
            np.testing.assert_array_equal(found.planes["R"], expected[int(frame)]["R"])
    made.close()


def test_a_job_that_is_given_up_ends_and_the_next_one_works(tmp_path: Path) -> None:
    scene = Scene(tmp_path, plate, colors, (FIRST, LAST), np.float32)
    made = Renderer(1 << 30)
    job = scene.job(1004)
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(Cancelled):
        made.render(job, {name: scene.pictures[name] for name in job.pictures}, given_up, quiet)
    assert scene.rendered(made, job).planes
    # what the span has is there, and yet nobody wants the frame
    job = scene.job(1005)
    with pytest.raises(Cancelled):
        made.render(job, {name: scene.pictures[name] for name in job.pictures}, given_up, quiet)
    made.close()


def test_a_job_that_is_given_up_leaves_others_of_its_span_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, plate, colors, (FIRST, LAST), np.float32)
    made = Renderer(1 << 30)
    expected = scene.rendered(made, scene.job(1004)).planes["R"]
    (span,) = made._spans
    given_up = threading.Event()
    given_up.set()
    honest = AlignedCarrier.carry

    def carry(self: AlignedCarrier, frame: int) -> tuple[Array, Array]:
        # while this frame is made another job of the span prepares, and is given up
        span._reader.hear(given_up, quiet, 1)
        threading.Timer(0.3, lambda: span._reader.hear(threading.Event(), quiet, 1)).start()
        monkeypatch.setattr(AlignedCarrier, "carry", honest)
        return honest(self, frame)

    scene.rendered(made, scene.job(1005))
    monkeypatch.setattr(AlignedCarrier, "carry", carry)
    np.testing.assert_array_equal(scene.rendered(made, scene.job(1004)).planes["R"], expected)
    made.close()


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    scene = Scene(tmp_path, plate, colors, (FIRST, LAST), np.float32)
    pools = (ThreadPoolExecutor(1), ThreadPoolExecutor(1))
    for name in ("weights", "ocio"):
        path = tmp_path / name
        path.write_text("one")
        job = scene.job(1004, **{name: path})
        span, before = live_span.LiveSpan(job, scene.pictures, 0, pools), job.digest
        assert span.serves(job)
        os.utime(path, ns=(0, 0))
        assert not span.serves(job)
        assert job.digest != before


def test_what_is_a_source_in_one_job_and_a_key_in_another_makes_two_results() -> None:
    def job(sources: tuple[int, ...], keys: tuple[int, ...]) -> Job:
        frames = {"source": [f"{frame} a" for frame in sources], "key": [f"{frame} a" for frame in keys]}
        lines = [(name, value) for name, values in frames.items() for value in values]
        return read_job([("frame", "1"), ("want", "float A"), ("picture", "a 4 4 float A"), *lines])

    assert job((1, 2), (3,)).digest != job((1,), (2, 3)).digest


def test_a_cut_between_the_keys_is_found(renderer: Renderer, tmp_path: Path) -> None:
    def two_shots(frame: int) -> Channels:
        return {n: p if frame < 1005 else np.ascontiguousarray(p[::-1, ::-1]) ** 2 for n, p in colors(frame).items()}

    scene = Scene(tmp_path, two_shots, two_shots, (FIRST, LAST), np.float32)
    expected = scene.propagated()
    made = scene.rendered(renderer, scene.job(1004))
    assert "cuts: new shots begin at 1005" in made.notes
    np.testing.assert_array_equal(made.planes["R"], expected[1004]["R"])


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"drop": "source 1003"}, "expected every frame from 1001 to 1009, which motion goes through, got none"),
        ({"far": "1000000000"}, "expected every frame from 1001 to 1000000000, which motion goes through, got none"),
        ({"drop": "source 1004"}, "Source: expected frame 1004, which is to be made, got none of it"),
        ({"drop": "key"}, "Keys: expected a key before or after frame 1004, got none"),
        ({"small": "k1001"}, "Keys frame 1001: expected 90 x 67 pixels as Source frame 1001 has, got 45 x 33"),
        ({"colorspace": "nonsense"}, "expected a color space of the config, got 'nonsense'"),
        ({"property": "motion"}, "Property: expected one of color, hdr, mask, channels, got 'motion'"),
        ({"mix": "2"}, "Mix: expected 0 to 1, got 2"),
        ({"property": "channels", "method": "stpn"}, "--method stpn: expected flow with --property channels"),
        ({"device": "cuda"}, "--device cuda: expected an NVIDIA GPU for torch"),
        ({"cuts": "1003,1005"}, "expected a key in the shot of frame 1004, there is none: new shots begin at"),
        ({"weights": "/nowhere.safetensors"}, "/nowhere.safetensors"),
        ({"interval": "3"}, "parameter: expected one of"),
    ],
)  # fmt: skip
def test_wrong_jobs_are_told(change: dict[str, str], problem: str, tmp_path: Path) -> None:
    scene = Scene(tmp_path, plate, colors, (FIRST, LAST), np.float32)
    values = {name: value for name, value in change.items() if name not in ("drop", "far", "small")}
    drop = change.get("drop")
    if "small" in change:
        scene.add("k", FIRST, {name: plane[:33, :45].copy() for name, plane in colors(FIRST).items()})
    lines = [("frame", "1004"), ("want", "float RGB")] + [("parameter", f"{n} {v}") for n, v in values.items()]
    lines += scene.described(scene.pictures)
    for name, frames in (("source", range(FIRST, LAST + 1)), ("key", (FIRST, LAST))):
        lines += [(name, f"{frame} {scene.ids[name[0], frame]}") for frame in frames]
    if "far" in change:
        lines += [("source", f"{change['far']} {scene.ids['s', LAST]}")]
    lines = [line for line in lines if drop is None or not " ".join(line).startswith(drop)]
    fresh = Renderer(1 << 30)
    with pytest.raises((RequestError, ColorError), match=re.escape(problem)):
        scene.rendered(fresh, read_job(lines))
    fresh.close()
