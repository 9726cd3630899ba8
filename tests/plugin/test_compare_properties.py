"""`stpn compare` of hdr, masks and channels: numbers against a computation of their own, pictures at known places."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pytest

from stpn.ocio.plate import new_plate, write_plate
from stpn.plugin.cli import main
from stpn.plugin.mask_view import OBJECTS, matte_over
from stpn.plugin.sheet_drawing import Layout

Array = np.ndarray[Any, Any]
REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
SHAPE = (10, 20)
CELL = (360, 180)  # 18 times 20 x 10


class Shot:
    """A folder of small sequences, and `stpn compare` as a person runs it.

    Attributes:
        out, err: what was said, the folder's name left out.
    """

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.out = self.err = ""
        self._capture = capture

    def exr(self, stem: str, frame: int, image: Array | Mapping[str, Array]) -> None:
        """stem.####.exr: RGB (H, W, 3), or channels."""
        channels = image if isinstance(image, Mapping) else {n: image[..., i] for i, n in enumerate("RGB")}
        held = {name: np.ascontiguousarray(array, np.float32) for name, array in channels.items()}
        write_plate(
            self.folder / f"{stem}.{frame:04d}.exr", new_plate(held, attributes={"chromaticities": REC709})
        )  # fmt: skip

    def png(self, stem: str, frame: int, image: Array) -> None:
        """stem.####.png: uint8 RGB or grey."""
        rgb = image[..., ::-1] if image.ndim == 3 else image
        cv2.imwrite(str(self.folder / f"{stem}.{frame:04d}.png"), rgb)

    def run(self, prop: str, result: str, *options: str, plate: str = "plate.####.png") -> int:
        self._capture.readouterr()
        named = [f"{self.folder}/{option[1:]}" if option.startswith("@") else option for option in options]
        files = [str(self.folder / plate), str(self.folder / result)]
        try:
            code = main(["compare", *files, "--property", prop, "--output", f"{self.folder}/sheet.png", *named])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = self._capture.readouterr()
        self.out, self.err = (text.replace(f"{self.folder}/", "") for text in (said.out, said.err))
        return code

    def report(self, prop: str, result: str, *options: str, **more: str) -> dict[str, Any]:
        assert self.run(prop, result, *options, "--json", **more) == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found

    def refused(self, prop: str, result: str, *options: str, **more: str) -> str:
        before = sorted(self.folder.rglob("*"))
        assert self.run(prop, result, *options, **more) == 2
        assert sorted(self.folder.rglob("*")) == before
        assert "Traceback" not in self.err
        return self.err

    def cell(self, layout: Layout, row: int, column: int) -> Array:
        """A picture of the sheet, int RGB."""
        sheet = np.asarray(cv2.imread(str(self.folder / "sheet.png")))[..., ::-1]
        assert sheet.shape == (layout.height, layout.width, 3)
        left, top = layout.place(row, column)
        return sheet[top : top + layout.cell[1], left : left + layout.cell[0]].astype(int)


@pytest.fixture
def shot(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shot:
    """A grey plate, frames 1 to 3; the left half is clipped."""
    monkeypatch.delenv("OCIO", raising=False)
    shot = Shot(tmp_path, capsys)
    plate = np.full((*SHAPE, 3), 100, np.uint8)
    plate[:, :10, 1] = 254
    for frame in (1, 2, 3):
        shot.png("plate", frame, plate)
    return shot


@cache
def default_view() -> Any:
    """From linear Rec.709 through the default view of the built-in config."""
    import PyOpenColorIO as ocio

    config = ocio.Config.CreateFromFile("ocio://studio-config-v5.0.0_aces-v2.1_ocio-v2.6")
    display = config.getDefaultDisplay()
    name = config.getDefaultView(display)
    view = ocio.DisplayViewTransform(src="Linear Rec.709 (sRGB)", display=display, view=name)
    return config.getProcessor(view).getDefaultCPUProcessor()


def seen_through(light: float, stops: float = 0.0) -> Array:
    """Code values 0..255 of grey light through the default view."""
    return 255 * np.array(default_view().applyRGB([light * 2.0**stops] * 3))


# ---------------------------------------------------------------- hdr


def light(frame: int) -> Array:
    return np.random.default_rng(frame).uniform(0.0, 9.0, (*SHAPE, 3)).astype(np.float32)


def pu21(nits: Array) -> Array:
    """Mantiuk and Azimi, PCS 2021, table 1, banding and glare."""
    p = [0.353487901, 0.3734658629, 8.277049286e-05, 0.9062562627, 0.09150303166, 0.9099517204, 596.3148142]
    power = np.clip(nits.astype(np.float64), 0.005, 10000) ** p[3]
    return p[6] * (((p[0] + p[1] * power) / (1 + p[2] * power)) ** p[4] - p[5])


def test_hdr_numbers_are_of_ln_over_all_and_over_clipped_pixels(shot: Shot) -> None:
    for frame in (1, 2, 3):
        wanted = light(frame)
        got = wanted.copy()
        got[:, :10] = 1.3 * wanted[:, :10] + 0.02 * frame
        shot.exr("truth", frame, wanted)
        shot.exr("result", frame, got)
    shot.exr("key", 1, light(1))
    report = shot.report("hdr", "result.####.exr", "--reference", "@truth.####.exr", "--keys", "@key.####.exr")
    for frame, found in enumerate(report["frames"], 1):
        wanted = light(frame).astype(np.float64)
        got = wanted.copy()
        got[:, :10] = 1.3 * wanted[:, :10] + 0.02 * frame
        apart = np.log(got + 0.01) - np.log(wanted + 0.01)
        assert found["log_rmse"] == pytest.approx(math.sqrt((apart**2).mean()), abs=1e-4)
        assert found["log_rmse_clipped"] == pytest.approx(math.sqrt((apart[:, :10] ** 2).mean()), abs=1e-4)
        error = math.sqrt(((pu21(100 * got) - pu21(100 * wanted)) ** 2).mean())
        assert found["pu21_psnr"] == pytest.approx(20 * math.log10(256 / error), abs=2e-3)
    assert [frame["key"] for frame in report["frames"]] == [True, False, False]
    assert report["counted"] == 2
    mean = np.mean([frame["log_rmse_clipped"] for frame in report["frames"][1:]])
    assert report["mean_log_rmse_clipped"] == pytest.approx(mean, abs=1e-4)


def test_a_plate_of_floats_clips_where_it_is_said_to(shot: Shot) -> None:
    shot.exr("result", 1, np.full((*SHAPE, 3), 0.5))
    shot.exr("truth", 1, np.full((*SHAPE, 3), 1.0))
    plate = np.full((*SHAPE, 3), 0.2)
    plate[:5] = 1.0
    shot.exr("float", 1, plate)
    options = ("--reference", "@truth.####.exr")
    report = shot.report("hdr", "result.####.exr", *options, plate="float.####.exr")
    assert (report["frames"][0]["log_rmse_clipped"], report["mean_log_rmse_clipped"]) == (None, None)
    assert "note: the plate holds float, so nothing says where it is clipped" in shot.err
    report = shot.report("hdr", "result.####.exr", *options, "--clipped-at", "1", plate="float.####.exr")
    assert report["mean_log_rmse_clipped"] == pytest.approx(math.log(1.01 / 0.51), abs=1e-4)
    assert "note" not in shot.err


def test_hdr_is_shown_through_the_default_view_and_errors_in_ln(shot: Shot) -> None:
    shot.exr("result", 2, np.full((*SHAPE, 3), 3.0))
    shot.exr("truth", 2, np.full((*SHAPE, 3), 2.4))
    report = shot.report("hdr", "result.####.exr", "--reference", "@truth.####.exr")
    assert report["shown_as"] == "display sRGB - Display, view ACES 2.0 - SDR 100 nits (Rec.709)"
    layout = Layout(CELL, 4, 1, 2, True)
    assert np.abs(shot.cell(layout, 0, 1)[50, 50] - seen_through(3.0)).max() <= 1.5
    assert np.abs(shot.cell(layout, 0, 2)[50, 50] - seen_through(2.4)).max() <= 1.5
    off = math.log(3.01 / 2.41)  # the scale ends at 1/2
    color = 255 * np.array(matplotlib.colormaps["magma"](round(off * 2 * 255))[:3])
    assert np.abs(shot.cell(layout, 0, 3)[50, 50] - color).max() <= 1


def test_a_bracket_is_a_strip_of_exposures_for_each_sequence(shot: Shot) -> None:
    half = np.zeros(SHAPE)
    half[:, 10:] = 1
    for frame in (1, 2):
        shot.exr("result", frame, np.full((*SHAPE, 3), 2.0 * frame))
        shot.exr("truth", frame, np.full((*SHAPE, 3), 2.5 * frame))
        shot.exr("sure", frame, {"confidence": half})
    shot.exr("key", 1, np.full((*SHAPE, 3), 8.0))
    files = ("--reference", "@truth.####.exr", "--keys", "@key.####.exr", "--confidence", "@sure.####.exr")
    assert shot.run("hdr", "result.####.exr", "--bracket", "-4,-2,0,2", "--frames", "1,2", *files) == 0, shot.err
    layout = Layout(CELL, 6, 7, 3, True)
    lights = {1: 8.0, 2: 2.0, 3: 2.5, 5: 4.0, 6: 5.0}  # key, result, reference; there is no key of frame 2
    for row, value in lights.items():
        for column, stops in enumerate((-4, -2, 0, 2)):
            shown = shot.cell(layout, row, column)[50, 50]
            assert np.abs(shown - seen_through(value, stops)).max() <= 1.5, (row, stops)
    empty = shot.cell(layout, 0, 5)[2, 2].tolist()
    for row in range(7):
        is_result = row in (2, 5)
        for column in (4, 5):
            assert (shot.cell(layout, row, column)[2, 2].tolist() == empty) != is_result, (row, column)


def test_hdr_needs_light(shot: Shot) -> None:
    said = shot.refused("hdr", "plate.####.png")
    assert "plate.0001.png: expected scene-linear half or float pixels for --property hdr, found uint8" in said


# ---------------------------------------------------------------- masks


def box(top: int, left: int, value: int = 255, shape: tuple[int, int] = SHAPE) -> Array:
    """A square of 4 pixels."""
    mask = np.zeros(shape, np.uint8)
    mask[top : top + 4, left : left + 4] = value
    return mask


def test_mattes_are_measured_by_region_boundary_and_sad(shot: Shot) -> None:
    for frame, left in ((1, 2), (2, 4), (3, 14)):
        shot.png("truth", frame, box(3, 2))
        shot.exr("result", frame, {"matte": box(3, left) / 255 * 0.75})
    report = shot.report("mask", "result.####.exr", "--reference", "@truth.####.png")
    assert [frame["j"] for frame in report["frames"]] == pytest.approx([100, 100 * 8 / 24, 0], abs=1e-3)
    assert [frame["f"] for frame in report["frames"]][::2] == [100, 0]
    assert [frame["sad"] for frame in report["frames"]] == pytest.approx([0.004, 0.016, 0.028])
    assert report["mean_j"] == pytest.approx(100 * (1 + 1 / 3) / 3, abs=1e-3)
    assert "objects: matte" in shot.err


def numbered(frame: int) -> Array:
    """Labels 1 and 2; the second object comes with frame 2."""
    return box(0, 1, 1) + (box(5, 12, 2) if frame > 1 else 0)


def colored(labels: Array) -> Array:
    return np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)[labels]


@pytest.mark.parametrize("written", ["numbers", "colors", "integers", "channels", "numbers and colors"])
def test_objects_are_measured_apart(shot: Shot, written: str) -> None:
    for frame in (1, 2):
        wanted, got = numbered(frame), numbered(2)
        if written == "channels":
            for stem, labels in (("truth", wanted), ("result", got)):
                shot.exr(stem, frame, {"one": labels == 1, "two": labels == 2, **dict.fromkeys("RGB", labels)})
            continue
        if written == "integers":
            for stem, labels in (("truth", wanted), ("result", got)):
                write_plate(shot.folder / f"{stem}.{frame:04d}.exr", new_plate({"label": labels.astype(np.uint32)}))
            continue
        shot.png("truth", frame, wanted if "numbers" in written else colored(wanted))
        shot.png("result", frame, got if written == "numbers" else colored(got))
    suffix = "exr" if written in ("channels", "integers") else "png"
    report = shot.report("mask", f"result.####.{suffix}", "--reference", f"@truth.####.{suffix}")
    assert [frame["j"] for frame in report["frames"]] == [50, 100]
    assert [frame["sad"] for frame in report["frames"]] == [0.016, 0]
    assert f"objects: {'one, two' if written == 'channels' else '1, 2'}" in report["color"]


def test_values_are_object_numbers_where_that_is_said(shot: Shot) -> None:
    shot.png("truth", 1, box(3, 2, 200) + box(3, 12, 7))
    shot.exr("result", 1, {"id": box(3, 2, 200)})
    report = shot.report("mask", "result.####.exr", "--reference", "@truth.####.png", "--mask-labels")
    assert "objects: 7, 200" in report["color"]
    assert report["frames"][0]["j"] == 50
    shot.png("nothing", 1, box(3, 2, 0))
    said = shot.refused("mask", "nothing.####.png", "--mask-labels")
    assert "nothing.####.png: expected object numbers, found nothing but 0" in said


def test_other_colors_are_objects_too_and_alpha_is_a_matte(shot: Shot) -> None:
    picture = np.zeros((*SHAPE, 3), np.uint8)
    picture[2:4], picture[6:8] = (255, 0, 0), (10, 20, 200)
    shot.png("result", 1, picture)
    assert "objects: #0a14c8, #ff0000" in shot.report("mask", "result.####.png")["color"]
    alpha = np.dstack([picture, np.where(np.arange(SHAPE[1]) < 5, 255, 0)[None].repeat(SHAPE[0], 0)]).astype(np.uint8)
    cv2.imwrite(str(shot.folder / "cutout.0001.png"), alpha)
    shot.png("truth", 1, np.ascontiguousarray(alpha[..., 3]))
    report = shot.report("mask", "cutout.####.png", "--reference", "@truth.####.png")
    assert (report["frames"][0]["j"], report["frames"][0]["sad"]) == (100, 0)


def test_mattes_lie_over_the_plate_each_object_in_its_color(shot: Shot) -> None:
    ground = np.full((60, 80, 3), 200, np.uint8)
    mattes = np.zeros((2, 60, 80), np.float32)
    mattes[0, 10:50, 5:35] = 1
    mattes[1, 10:50, 45:80] = 0.4  # is nowhere above a half: a tint without an outline
    truth = np.zeros((1, 60, 80), np.float32)
    truth[0, 20:40, 10:30] = 1
    shown = matte_over(ground, mattes, truth).astype(int)
    orange, blue = (np.array(OBJECTS[name]) for name in ("orange", "sky blue"))
    assert np.abs(shown[45, 20] - (200 * 0.55 + orange * 0.45)).max() <= 1
    assert np.abs(shown[30, 60] - (200 * 0.82 + blue * 0.18)).max() <= 1
    assert (shown[30, 5] == orange).all()
    assert (shown[30, 6] == orange).all()
    assert (shown[30, 4] == 0).all(), "the rim"
    assert (shown[0, 0] == 200).all()
    assert (shown[30, 78:] == shown[30, 60]).all(), "the border of the picture is no outline"
    line = shown[20, 10:30]
    assert 0.3 < (line == 255).all(axis=1).mean() < 0.7, "dashes"
    assert (matte_over(ground, mattes)[20, 10:30] != 255).any(axis=1).all()


def test_the_sheet_shows_what_is_missing_and_what_is_too_much(shot: Shot) -> None:
    shot.png("truth", 1, box(3, 2))
    shot.png("result", 1, box(3, 12))
    shot.png("key", 1, box(3, 2))
    files = ("--reference", "@truth.####.png", "--keys", "@key.####.png", "--frames", "1")
    assert shot.run("mask", "result.####.png", *files) == 0, shot.err
    layout = Layout(CELL, 5, 1, 3, True)
    difference = shot.cell(layout, 0, 4)
    center = 18 * 5, 18 * 4
    assert (difference[center] == OBJECTS["orange"]).all(), "missing"
    assert (difference[center[0], 18 * 14] == OBJECTS["sky blue"]).all(), "too much"
    plate, key, result, truth = (shot.cell(layout, 0, column) for column in range(4))
    assert (key == truth).all()
    assert (key[center] != plate[center]).any()
    assert (result[center] == plate[center]).all()


def test_mattes_that_do_not_go_together_are_refused(shot: Shot) -> None:
    shot.png("labels", 1, numbered(2))
    shot.png("grey", 1, box(3, 2))
    shot.exr("two", 1, {"a": box(3, 2), "b": box(3, 2)})
    shot.exr("others", 1, {"c": box(3, 2), "d": box(3, 2)})
    said = shot.refused("mask", "labels.####.png", "--reference", "@grey.####.png")
    assert "expected as many mattes in all sequences, found 1 in grey.####.png, 2 in labels.####.png" in said
    said = shot.refused("mask", "two.####.exr", "--reference", "@labels.####.png")
    assert "two.####.exr: expected labels as labels.####.png has, found mattes by channel" in said
    said = shot.refused("mask", "two.####.exr", "--reference", "@others.####.exr")
    assert "two.0001.exr: expected channels c, d, found part 0: a, b; name those meant with --channels" in said
    said = shot.refused("mask", "grey.####.png", "--channels", "a")
    assert "--channels a: expected EXR files to choose from, found none; leave it out" in said
    noise = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
    shot.png("photo", 1, noise)
    said = shot.refused("mask", "photo.####.png")
    assert "photo.0001.png: expected a grey matte, or at most 32 labels, one an object, found" in said


# ---------------------------------------------------------------- channels


def ramp(low: float, high: float) -> Array:
    return np.repeat(np.linspace(low, high, SHAPE[1])[None], SHAPE[0], axis=0)


def test_channels_share_a_scale_and_rmse_leaves_broken_pixels_out(shot: Shot) -> None:
    got, wanted = ramp(2, 6), ramp(2, 6) + 0.25
    got[0, 0] = np.nan
    got[0, 1] = np.inf
    got[0, 2] = wanted[0, 2] = np.inf
    shot.exr("result", 1, {"depth.Z": got, **dict.fromkeys("RGB", got)})
    shot.exr("truth", 1, {"depth.Z": wanted})
    report = shot.report("channels", "result.####.exr", "--reference", "@truth.####.exr")
    assert (report["frames"][0]["rmse"], report["frames"][0]["broken"]) == (pytest.approx(0.25), 2)
    assert "result: channel depth.Z" in report["color"]
    layout = Layout(CELL, 4, 1, 2, True)

    def is_all(area: Array, color: Any) -> bool:
        return bool((np.abs(area - 255 * np.array(color[:3])).max() <= 1.5).all())

    viridis, magma = matplotlib.colormaps["viridis"], matplotlib.colormaps["magma"]
    result, truth, difference = (shot.cell(layout, 0, column) for column in (1, 2, 3))
    low, high = 2, 6.25
    assert is_all(result[100:, :17], viridis(0))
    assert is_all(result[100:, -17:], viridis(round((6 - low) / (high - low) * 255)))
    assert is_all(truth[:, -17:], viridis(255))
    assert (result[:17, :53] == 128).all(), "NaN and infinity are grey"
    assert is_all(difference[100:], magma(round(0.25 / (4.25 / 8) * 255)))


def test_the_range_can_be_given(shot: Shot) -> None:
    shot.exr("result", 1, {"Z": ramp(-1, 9)})
    assert shot.run("channels", "result.####.exr", "--range", "-1,1") == 0, shot.err
    shown = shot.cell(Layout(CELL, 2, 1, 3, False), 0, 1)
    assert np.abs(shown[:, 100:] - 255 * np.array(matplotlib.colormaps["viridis"](255)[:3])).max() <= 1
    assert shown[5, 5, 1] < 10


def test_one_channel_is_looked_at(shot: Shot) -> None:
    shot.exr("result", 1, {"motion.u": ramp(0, 1), "motion.v": ramp(0, 3)})
    said = shot.refused("channels", "result.####.exr")
    assert "result.0001.exr: expected one channel to look at, found motion.u, motion.v; choose one" in said
    said = shot.refused("channels", "result.####.exr", "--channels", "motion.u,motion.v")
    assert "--channels: expected one channel, got motion.u, motion.v" in said
    said = shot.refused("channels", "result.####.exr", "--channels", "Z")
    assert "result.0001.exr: expected channel Z, found part 0: motion.u, motion.v" in said
    shot.exr("truth", 1, {"motion.v": ramp(0, 3) + 2})
    options = ("--channels", "motion.v", "--reference", "@truth.####.exr")
    assert shot.report("channels", "result.####.exr", *options)["mean_rmse"] == pytest.approx(2)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("prop", "options", "message"),
    [
        ("color", ("--bracket", "0"), "--bracket: expected none with --property color, it is for hdr"),
        ("color", ("--channels", "Z"), "--channels: expected none with --property color, it is for mask and channels"),
        ("mask", ("--amplify", "2"), "--amplify: expected none with --property mask, it is for color and hdr and"),
        ("mask", ("--range", "0,1"), "--range: expected none with --property mask, it is for channels"),
        ("hdr", ("--mask-labels",), "--mask-labels: expected none with --property hdr, it is for mask"),
        ("hdr", ("--bracket", "a,b"), "--bracket a,b: expected stops such as -4,-2,0,2"),
        ("hdr", ("--bracket", "1,1"), "--bracket 1,1: expected stops from -30 to 30, each once"),
        ("hdr", ("--bracket", "99"), "--bracket 99: expected stops from -30 to 30"),
        ("hdr", ("--clipped-at", "0"), "--clipped-at: expected a code value above 0, got 0"),
        ("channels", ("--range", "2,1"), "--range 2,1: expected LOW,HIGH, the first below the second"),
        ("channels", ("--range", "1"), "--range 1: expected LOW,HIGH"),
    ],
)
def test_options_that_do_not_fit_are_refused(shot: Shot, prop: str, options: tuple[str, ...], message: str) -> None:
    shot.exr("result", 1, {"matte": np.zeros(SHAPE)})
    assert message in shot.refused(prop, "result.####.exr", *options)


def test_a_bracket_has_fewer_frames(shot: Shot) -> None:
    shot.exr("result", 1, light(1))
    for frame in range(4, 40):
        (shot.folder / f"plate.{frame:04d}.png").hardlink_to(shot.folder / "plate.0001.png")
    for frame in range(2, 40):
        (shot.folder / f"result.{frame:04d}.exr").hardlink_to(shot.folder / "result.0001.exr")
    said = shot.refused("hdr", "result.####.exr", "--bracket", "0,2", "--frames", "1-39")
    assert "--frames: expected at most 30 frames, one a row, got 39; give a step: 1-39x2" in said
