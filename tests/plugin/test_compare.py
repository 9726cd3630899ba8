"""`stpn compare`: numbers against a computation of their own, pictures at known places, refusals."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stpn.ocio.plate import new_plate, read_plate, write_plate
from stpn.plugin import frame_source
from stpn.plugin.cli import main
from stpn.plugin.contact_sheet import cell_size
from stpn.plugin.difference import Score
from stpn.plugin.frame_choice import chosen_frames
from stpn.plugin.sheet_drawing import EMPTY, GROUND, Layout

Array = np.ndarray[Any, Any]
REC709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
AP1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
# ACEScg to linear Rec.709, Bradford, as the Academy's documents print it
AP1_TO_REC709 = np.array([[1.70505, -0.62179, -0.08326], [-0.13026, 1.14080, -0.01055], [-0.02400, -0.12897, 1.15297]])
SHAPE = (8, 16)
CELL = (352, 176)  # 22 times 16 x 8


class Shot:
    """A folder of small sequences, and `stpn compare` as a person runs it."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.sheet = folder / "sheet.png"
        self.out = ""
        self.err = ""
        self._capture = capture

    def write(self, stem: str, frames: Any, image: Callable[[int], Any], **attributes: object) -> None:
        """stem.####.exr with the RGB (H, W, 3), or one color, that `image` gives for a frame; float."""
        for frame in frames:
            given = np.asarray(image(frame), np.float32)
            rgb = given if given.ndim == 3 else np.broadcast_to(given, (*SHAPE, 3))
            channels = {name: np.ascontiguousarray(rgb[..., index]) for index, name in enumerate("RGB")}
            write_plate(
                self.folder / f"{stem}.{frame:04d}.exr",
                new_plate(channels, attributes={"chromaticities": REC709, **attributes}),
            )

    def pattern(self, stem: str) -> str:
        return str(self.folder / f"{stem}.####.exr")

    def run(self, *options: str, plate: str = "plate", result: str = "result") -> int:
        """Exit code; `out` and `err` hold what was said, the folder's name left out."""
        self._capture.readouterr()
        named = [self.pattern(option[1:]) if option.startswith("@") else option for option in options]
        output = [] if "--output" in named else ["--output", str(self.sheet)]
        try:
            code = main(["compare", self.pattern(plate), self.pattern(result), *named, *output])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = self._capture.readouterr()
        self.out, self.err = (text.replace(f"{self.folder}/", "") for text in (said.out, said.err))
        return code

    def report(self, *options: str, **names: str) -> dict[str, Any]:
        """What --json prints."""
        assert self.run(*options, "--json", **names) == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found

    def picture(self) -> Array:
        """The sheet, RGB."""
        return np.asarray(cv2.imread(str(self.sheet)))[..., ::-1]

    def files(self) -> set[str]:
        return {path.name for path in self.folder.rglob("*")}


@pytest.fixture
def shot(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shot:
    """Grey plate, orange result, frames 1 to 5."""
    monkeypatch.delenv("OCIO", raising=False)
    shot = Shot(tmp_path, capsys)
    shot.write("plate", range(1, 6), lambda frame: np.full(3, 0.04 * frame))
    shot.write("result", range(1, 6), lambda frame: np.array([0.5, 0.2, 0.05]) * 0.2 * frame)
    return shot


def srgb(linear: float) -> int:
    """8-bit sRGB of linear light, IEC 61966-2-1."""
    light = min(max(linear, 0.0), 1.0)
    return round(255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055))


def psnr(result: Array, reference: Array) -> float:
    """Of linear Rec.709 (H, W, 3), pixel by pixel in Python's own floats."""
    pairs = zip(result.ravel().tolist(), reference.ravel().tolist(), strict=True)
    squares = [(srgb(a) - srgb(b)) ** 2 for a, b in pairs]
    return 20 * math.log10(255 / max(math.sqrt(sum(squares) / len(squares)), 1e-3))


def noise(frame: int, scale: float = 0.02) -> Array:
    """Noise with values below 0 and above 1."""
    random = np.random.default_rng(frame)
    return np.asarray(random.uniform(-0.2, 1.5, (*SHAPE, 3)) + random.normal(0, scale * frame, (*SHAPE, 3)), np.float32)


def truth(frame: int) -> Array:
    return noise(frame, 0.0)


# ---------------------------------------------------------------- numbers


def test_psnr_is_that_of_8_bit_srgb_and_keys_are_left_out_of_the_mean(shot: Shot) -> None:
    shot.write("result", range(1, 6), noise)
    shot.write("truth", range(1, 6), truth)
    shot.write("key", (1, 5), truth)
    report = shot.report("--reference", "@truth", "--keys", "@key")
    expected = [psnr(noise(frame), truth(frame)) for frame in range(1, 6)]
    assert [frame["frame"] for frame in report["frames"]] == [1, 2, 3, 4, 5]
    assert [frame["psnr"] for frame in report["frames"]] == pytest.approx(expected, abs=2e-3)
    assert [frame["key"] for frame in report["frames"]] == [True, False, False, False, True]
    assert report["mean_psnr"] == pytest.approx(np.mean(expected[1:4]), abs=2e-3)
    assert report["mean_rmse"] == pytest.approx(np.mean([255 / 10 ** (p / 20) for p in expected[1:4]]), abs=1e-2)
    assert report["counted"] == 3


def test_identical_frames_count_with_108_dB_and_a_note_says_so(shot: Shot) -> None:
    report = shot.report("--reference", "@result")
    assert [frame["psnr"] for frame in report["frames"]] == [108.1308] * 5
    assert "note: 5 frames are identical to the reference and count with 108.13 dB each" in shot.err


def test_reference_in_other_primaries_is_converted(shot: Shot) -> None:
    random = np.random.default_rng(3).uniform(0.1, 0.8, (*SHAPE, 3))
    shot.write("truth", (3,), lambda frame: random, chromaticities=AP1)
    shot.write("result", (3,), lambda frame: random @ AP1_TO_REC709.T)
    assert shot.report("--reference", "@truth")["mean_psnr"] > 55
    shot.write("truth", (3,), lambda frame: random)
    assert shot.report("--reference", "@truth")["mean_psnr"] < 30


def test_named_space_of_the_result_alone(shot: Shot) -> None:
    shot.write("result", (3,), lambda frame: [0.5, 0.5, 0.5])
    shot.write("truth", (3,), lambda frame: [((0.5 + 0.055) / 1.055) ** 2.4] * 3)
    assert shot.report("--reference", "@truth")["mean_psnr"] < 15
    report = shot.report("--reference", "@truth", "--result-colorspace", "srgb_texture")
    assert report["mean_psnr"] > 60
    assert "result: sRGB Encoded Rec.709 (sRGB), by --result-colorspace" in report["color"]


def test_nan_and_infinity_are_counted_and_shown_as_black_and_white(shot: Shot) -> None:
    broken = np.full((*SHAPE, 3), 0.25, np.float32)
    broken[0, 0, 1] = np.nan
    broken[0, 1] = np.inf
    shot.write("result", (3,), lambda frame: broken)
    shot.write("truth", (3,), lambda frame: np.nan_to_num(broken, nan=0.0, posinf=1.0))
    report = shot.report("--reference", "@truth")
    assert [(frame["broken"], frame["psnr"]) for frame in report["frames"]] == [(2, 108.1308)]
    assert "frame 3: 2 pixels are NaN" in shot.err


def test_frames_the_result_lacks_are_named(shot: Shot) -> None:
    shot.write("truth", range(4, 9), truth)
    report = shot.report("--reference", "@truth")
    assert (report["missing"], [frame["frame"] for frame in report["frames"]]) == ([6, 7, 8], [4, 5])
    assert "the result lacks 3 frames of the reference, which are not measured: 6, 7, 8" in shot.err


def test_text_shows_frames_and_mean(shot: Shot) -> None:
    shot.write("truth", range(1, 6), lambda frame: [0.1, 0.1, 0.1])
    shot.write("key", (2,), truth)
    assert shot.run("--reference", "@truth", "--keys", "@key") == 0
    lines = shot.out.splitlines()
    assert (lines[0].split(), lines[2].split()[-1], lines[-1]) == (
        ["frame", "PSNR", "dB", "RMSE"], "key", "contact sheet: sheet.png",
    )  # fmt: skip
    assert lines[-2].endswith("of 4 frames")


# ---------------------------------------------------------------- the picture


def test_cells_hold_their_pictures_at_their_places(shot: Shot) -> None:
    shot.write("truth", range(1, 6), lambda frame: np.array([0.5, 0.2, 0.0]) * 0.2 * frame)
    shot.write("key", (1, 5), lambda frame: [0.3, 0.6, 0.9])
    half = np.zeros(SHAPE, np.float16)
    half[:, 8:] = 1
    for frame in (1, 3):
        write_plate(shot.folder / f"sure.{frame:04d}.exr", new_plate({"confidence": half}))
    assert shot.run("--reference", "@truth", "--keys", "@key", "--confidence", "@sure", "--frames", "1,3,4") == 0
    sheet = shot.picture()
    layout = Layout(CELL, 6, 3, 2, True)
    assert sheet.shape == (layout.height, layout.width, 3)

    def cell(row: int, column: int) -> Array:
        left, top = layout.place(row, column)
        return sheet[top : top + CELL[1], left : left + CELL[0]]

    def is_all(area: Array, color: Any) -> bool:
        return bool((np.abs(area.astype(int) - np.array(color)) <= 1).all())

    empty, ground = (tuple(int(code[i : i + 2], 16) for i in (1, 3, 5)) for code in (EMPTY, GROUND))
    for row, frame in enumerate((1, 3, 4)):
        result = [srgb(value * 0.2 * frame) for value in (0.5, 0.2, 0.05)]
        wanted = [srgb(value * 0.2 * frame) for value in (0.5, 0.2, 0.0)]
        assert is_all(cell(row, 0), [srgb(0.04 * frame)] * 3), "plate"
        assert is_all(cell(row, 2), result), "result"
        assert is_all(cell(row, 3), wanted), "reference"
        apart = [abs(a - b) for a, b in zip(result, wanted, strict=True)]
        assert is_all(cell(row, 4), [min(8 * value, 255) for value in apart]), "difference"
    assert is_all(cell(0, 1), [srgb(value) for value in (0.3, 0.6, 0.9)]), "the key"
    for row in (1, 2):
        assert is_all(cell(row, 1)[:60], empty), "no key at this frame"
        assert not is_all(cell(row, 1), empty), "the mark of an empty cell"
    # the ends of matplotlib's magma: unsure is bright, sure is dark
    assert is_all(cell(0, 5)[:, :176], [252, 253, 191])
    assert is_all(cell(1, 5)[:, 176:], [0, 0, 4])
    assert is_all(cell(2, 5)[:60], empty), "no confidence for this frame"
    left, top = layout.place(1, 1)
    assert is_all(sheet[top : top + CELL[1], left - 10 : left], ground), "gap between columns"
    assert sheet[top : top + 22, 28:110].max() > 200, "the frame number is written beside the row"


def test_large_frames_are_reduced_as_light(shot: Shot) -> None:
    stripes = np.zeros((360, 720, 3), np.float32)
    stripes[:, ::2] = 1.0
    shot.write("plate", (1,), lambda frame: stripes)
    shot.write("result", (1,), lambda frame: stripes)
    assert shot.run("--frames", "1") == 0
    left, top = Layout((360, 180), 2, 1, 1, False).place(0, 1)
    assert (shot.picture()[top : top + 180, left : left + 360] == srgb(0.5)).all()


@pytest.mark.parametrize(
    ("width", "height", "aspect", "size"),
    [
        (4096, 2160, 1.0, (360, 190)),
        (1828, 1556, 2.0, (360, 153)),
        (1080, 1920, 1.0, (236, 420)),
        (320, 180, 1.0, (320, 180)),
        (16, 8, 1.0, CELL),
        (5000, 2, 1.0, (360, 1)),
    ],
)
def test_cell_size_keeps_the_aspect(width: int, height: int, aspect: float, size: tuple[int, int]) -> None:
    assert cell_size(width, height, aspect) == size


def test_view_is_that_of_the_config(shot: Shot) -> None:
    import PyOpenColorIO as ocio

    report = shot.report("--frames", "3", "--view", "aces 2.0 - sdr 100 nits (rec.709)")
    assert report["shown_as"] == "display sRGB - Display, view ACES 2.0 - SDR 100 nits (Rec.709)"
    config = ocio.Config.CreateFromFile("ocio://studio-config-v5.0.0_aces-v2.1_ocio-v2.6")
    view = ocio.DisplayViewTransform(
        src="Linear Rec.709 (sRGB)", display="sRGB - Display", view="ACES 2.0 - SDR 100 nits (Rec.709)"
    )
    shown = config.getProcessor(view).getDefaultCPUProcessor().applyRGB([value * 0.6 for value in (0.5, 0.2, 0.05)])
    left, top = Layout(CELL, 2, 1, 1, False).place(0, 1)
    seen = shot.picture()[top + 50, left + 50].astype(int)
    assert np.abs(seen - 255 * np.array(shown)).max() <= 1.5
    assert np.abs(seen - [srgb(value * 0.6) for value in (0.5, 0.2, 0.05)]).max() > 5


def test_only_the_frames_of_the_rows_are_read(shot: Shot, monkeypatch: pytest.MonkeyPatch) -> None:
    shot.write("plate", range(1, 41), lambda frame: [0.1] * 3)
    shot.write("result", range(1, 41), lambda frame: [0.1] * 3)
    read: list[str] = []

    def counting(path: Path) -> Any:
        read.append(path.name)
        return read_plate(path)

    monkeypatch.setattr(frame_source, "read_plate", counting)
    rows = shot.report()["rows"]
    assert sorted(read) == sorted(f"{stem}.{frame:04d}.exr" for stem in ("plate", "result") for frame in rows)
    assert len(rows) == 5


@pytest.mark.parametrize(
    ("frames", "keys", "chosen"),
    [
        (range(1001, 1042), (1001, 1021, 1041), (1006, 1011, 1021, 1031, 1036)),
        (range(1, 41), (), (1, 11, 21, 30, 40)),
        (range(1, 4), (1, 2, 3), (1, 2, 3)),
        ((7,), (3,), (7,)),
        ((4, 9), (), (4, 9)),
    ],
)
def test_chosen_frames(frames: Any, keys: tuple[int, ...], chosen: tuple[int, ...]) -> None:
    assert chosen_frames(frames, keys) == chosen


def test_chosen_frames_of_a_long_shot_are_spread(shot: Shot) -> None:
    keys = list(range(0, 1001, 20))
    chosen = chosen_frames(range(1001), keys)
    assert [frame % 20 for frame in chosen].count(10) == 4
    assert [frame % 20 for frame in chosen].count(0) == 1
    assert min(np.diff(chosen)) > 100


def test_plot_leaves_keys_out_and_names_the_mean() -> None:
    from matplotlib.figure import Figure

    from stpn.plugin.psnr_plot import draw_psnr

    scores = [Score(frame, rmse, 0, frame == 3) for frame, rmse in ((1, 2.55), (2, 25.5), (3, 5.0), (4, 2.55), (5, 0))]
    axes = Figure().add_subplot()
    draw_psnr(axes, scores, keys=(3, 99), rows=(2,))
    drawn = {str(line.get_label()): np.asarray(line.get_xydata()).tolist() for line in axes.lines}
    assert drawn["PSNR of the result"] == [[1, pytest.approx(40)], [2, pytest.approx(20)]]
    assert drawn["frames shown above"] == [[2, pytest.approx(20)]]
    assert drawn["key, not counted"] == [[3, 0], [3, 1]]
    assert [point[0] for point in drawn["identical"]] == [5]
    assert f"mean {(40 + 20 + 40 + 108.1308) / 4:.2f} dB of 4 frames" in drawn


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reference", "@nothing"), "nothing.####.exr: expected reference frames, found none"),
        (("--reference", "@late"), "late.####.exr: expected reference frames of the result's 1-5, found 8-9"),
        (("--keys", "@large"), "large.0003.exr: expected 16 x 8 pixels as plate.0001.exr has, got 4 x 2"),
        (("--keys", "plate.0001.exr"), "plate.0001.exr: expected a frame token like ####, found none"),
        (("--keys", "@nothing"), "nothing.####.exr: expected key frames, found none"),
        (("--colorspace", "ACEScgg"), "did you mean 'ACEScg'"),
        (("--view", "un-tone"), "--view: expected one of built-in"),
        (("--display", "Rec.1886"), "did you mean 'Rec.1886 Rec.709 - Display'"),
        (("--frames", "2-7"), "plate.####.exr: expected frames 6, 7, not found; there are 1-5"),
        (("--frames", "2:3"), "--frames: frames '2:3': expected a frame or range"),
        (("--amplify", "0"), "--amplify: expected a factor above 0, got 0"),
        (("--threads", "0"), "--threads: expected 1 or more, got 0"),
        (("--confidence", "@depth"), "depth.0003.exr: expected a channel confidence, or a grey picture, found Z"),
        (("--reference", "@depth"), "depth.0003.exr: expected channels R, G, B, or Y alone, found part 0: Z"),
        (("--ocio", "none.ocio"), "expected an OCIO config file, found nothing: --ocio none.ocio"),
    ],
)
def test_wrong_requests_write_nothing(shot: Shot, options: tuple[str, ...], message: str) -> None:
    shot.write("late", (8, 9), truth)
    shot.write("large", (3,), lambda frame: np.zeros((2, 4, 3)))
    write_plate(shot.folder / "depth.0003.exr", new_plate({"Z": np.zeros(SHAPE, np.float32)}))
    before = shot.files()
    assert shot.run(*options) == 2
    assert message in shot.err
    assert "Traceback" not in shot.err
    assert shot.files() == before


def test_sequences_without_common_frames_are_refused(shot: Shot) -> None:
    shot.write("other", (7, 9), truth)
    assert shot.run(result="other") == 2
    assert "expected frames in common, found none: one has 1-5, the other 7-9 (2 frames)" in shot.err
    assert not shot.sheet.exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("sheet.jpg", "expected a name that ends in .png, got .jpg"),
        ("taken.png/sheet.png", "expected a folder that can be written"),
        ("folder.png", "expected a file, found a folder of that name"),
        ("scan.0002.png", "expected a place of its own, got a file of the reference"),
    ],
)
def test_outputs_that_cannot_be_are_refused(shot: Shot, output: str, message: str) -> None:
    (shot.folder / "taken.png").write_bytes(b"x")
    (shot.folder / "folder.png").mkdir()
    for frame in (1, 2):
        cv2.imwrite(str(shot.folder / f"scan.{frame:04d}.png"), np.zeros((*SHAPE, 3), np.uint8))
    before = {path: path.read_bytes() for path in shot.folder.glob("*.*") if path.is_file()}
    reference = str(shot.folder / "scan.####.png")
    assert shot.run("--reference", reference, "--output", str(shot.folder / output)) == 2
    assert message in shot.err
    assert {path: path.read_bytes() for path in shot.folder.glob("*.*") if path.is_file()} == before


def test_more_rows_than_fit_are_refused_with_a_step(shot: Shot) -> None:
    for stem in ("plate", "result"):
        for frame in range(6, 102):
            (shot.folder / f"{stem}.{frame:04d}.exr").hardlink_to(shot.folder / f"{stem}.0001.exr")
    assert shot.run("--frames", "1-101") == 2
    assert "expected at most 60 frames, one a row, got 101; give a step: 1-101x2" in shot.err


def test_damage_found_while_working_is_one_line_and_leaves_the_former_sheet(shot: Shot) -> None:
    path = shot.folder / "result.0003.exr"
    data = bytearray(path.read_bytes())
    data[-12:] = bytes(12)  # within the compressed pixels
    path.write_bytes(data)
    shot.sheet.write_bytes(b"former")
    before = shot.files()
    assert shot.run("--frames", "3") == 1
    last = shot.err.splitlines()[-1]
    assert last.startswith("stpn compare: result.0003.exr: ")
    assert shot.sheet.read_bytes() == b"former"
    assert shot.files() == before


def test_a_full_disk_leaves_the_former_sheet(shot: Shot, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    shot.sheet.write_bytes(b"former")
    before = shot.files()
    monkeypatch.setattr(Path, "write_bytes", half)
    assert shot.run() == 1
    assert shot.err.splitlines()[-1] == "stpn compare: [Errno 28] No space left on device"
    assert (shot.sheet.read_bytes(), shot.files()) == (b"former", before)


def test_a_former_sheet_is_replaced_and_folders_are_made(shot: Shot) -> None:
    target = shot.folder / "new" / "sheet.png"
    for _ in range(2):
        assert shot.run("--output", str(target)) == 0
    assert cv2.imread(str(target)) is not None
    assert [path.name for path in target.parent.iterdir()] == ["sheet.png"]


def test_help_is_quick_and_documents_the_json() -> None:
    code = (
        "import sys; from stpn.plugin.cli import main\n"
        "try: main(['compare', '--help'])\n"
        "except SystemExit: print(*sorted({'torch', 'cv2', 'matplotlib', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.stderr.strip() == ""
    for name in ("mean_psnr", "counted", "missing", "rows", "without tone mapping"):
        assert name in finished.stdout
