"""`stpn bench quality --property hdr` and `mask` as a person runs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from stpn.engine.evaluation import hdr, mask, panorama
from stpn.engine.evaluation.methods import Method
from stpn.engine.evaluation.metrics import hdr_errors
from stpn.engine.evaluation.numbers import Plan
from stpn.ocio.plate import new_plate, write_plate
from stpn.plugin.bench_files import FileShot, numbers_through_files
from stpn.plugin.bench_numbers import decays, read_panorama
from stpn.plugin.cli import main

Array = np.ndarray[Any, Any]
FRAMES, HEIGHT, WIDTH = 8, 48, 64


class Bench:
    """The command, run in this process.

    Attributes:
        folder: where sources lie and results go.
        out, err: what was said, the folder's name left out.
    """

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.out = self.err = ""
        self._capture = capture

    def run(self, *options: object) -> int:
        self._capture.readouterr()
        try:
            code = main(["bench", "quality", *map(str, options), "--jobs", "1"])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = self._capture.readouterr()
        self.out, self.err = (text.replace(f"{self.folder}/", "") for text in (said.out, said.err))
        return code

    def report(self, *options: object) -> dict[str, Any]:
        file = self.folder / "report.json"
        assert self.run(*options, "--json", file) == 0, self.err
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def refused(self, *options: object) -> str:
        """What is said where a request is wrong; nothing may have been written."""
        before = sorted(self.folder.rglob("*"))
        assert self.run(*options) == 2
        assert sorted(self.folder.rglob("*")) == before
        assert self.out == ""
        return self.err

    @property
    def panorama(self) -> Path:
        """Colored light of a wide range."""
        noise = cv2.GaussianBlur(np.random.default_rng(0).normal(size=(128, 256, 3)), (0, 0), 3)
        light = np.exp(noise * 8)
        path = self.folder / "pano.exr"
        write_plate(path, new_plate({name: light[..., i].astype(np.float32) for i, name in enumerate("RGB")}))
        return path

    @property
    def sequence(self) -> Path:
        """A square that moves by a pixel a frame with the spots on it; masks of some frames."""
        folder = self.folder / "sequence"
        (folder / "masks").mkdir(parents=True)
        (folder / "frames").mkdir()
        noise = np.random.default_rng(0).normal(size=(HEIGHT, 2 * WIDTH, 3)).astype(np.float32)
        spots = cv2.GaussianBlur(noise, (0, 0), 2.5)
        picture = np.clip(128 + 45 * (spots / spots.std()), 0, 255)
        for frame in range(FRAMES):
            shown = picture[:, frame : frame + WIDTH].copy()
            cv2.imwrite(str(folder / f"frames/{frame:04d}.png"), shown.astype(np.uint8))
            if frame in (0, 3, 6):
                truth = np.zeros((HEIGHT, WIDTH), np.uint8)
                truth[15:35, 30 - frame : 50 - frame] = 255
                cv2.imwrite(str(folder / f"masks/{frame:05d}.png"), truth)
        return folder


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.delenv("OCIO", raising=False)
    for name, value in {"FRAMES": 6, "WIDTH": 96, "HEIGHT": 54}.items():
        monkeypatch.setattr(panorama, name, value)
    return Bench(tmp_path, capsys)


# ---------------------------------------------------------------- hdr


def test_hdr_prints_methods_and_baselines_with_and_without_blending(bench: Bench) -> None:
    plots = bench.folder / "plots"
    options = ("--property", "hdr", "--interval", 5, "--method", "flow", "--baseline", "copy", "flow_one")
    report = bench.report(bench.panorama, *options, "--plots", plots)
    mean = report["mean"]["K=5"]
    assert set(mean) == {
        "inverse",
        *(f"{name}{end}" for name in ("flow", "copy", "flow_one") for end in ("", "+blend")),
    }
    assert report["by_source"]["K=5"]["pano"] == mean
    assert mean["copy+blend"]["log_rmse"] < mean["copy"]["log_rmse"]
    assert mean["flow+blend"]["log_rmse"] < mean["copy+blend"]["log_rmse"]
    assert mean["copy"]["log_rmse_clipped"] is not None
    assert f"{mean['flow+blend']['pu21_psnr']:.2f}" in bench.out
    assert "K=5: RMSE of ln(H + 0.01), clipped pixels of each source" in bench.out
    assert "[1/1] pano K=5  log_rmse" in bench.err
    drawn = {path.stem for path in plots.iterdir()}
    assert {f"{metric}_by_source" for metric in hdr.METRICS} <= drawn
    assert all(cv2.imread(str(path)) is not None for path in plots.iterdir())


def test_a_panorama_that_cannot_be_read_is_an_error(bench: Bench) -> None:
    broken = bench.folder / "broken.exr"
    broken.write_bytes(b"no picture")
    assert bench.run(broken, "--property", "hdr", "--interval", 5, "--method", "flow") == 1
    assert "broken.exr" in bench.err
    assert "Traceback" not in bench.err


def test_blending_leaves_what_the_camera_saw() -> None:
    carried, inverse = np.full((1, 3, 3), 2, np.float32), np.full((1, 3, 3), 1, np.float32)
    ldr = np.zeros((1, 3, 3), np.uint8)
    ldr[0, :, 1] = [200, 255, 249]  # 0.95 is 242.25, 1 is 255
    mixed = hdr.blended(carried, inverse, ldr)[0, :, 0]
    assert mixed == pytest.approx([1, 2, 1 + (249 / 255 - 0.95) / 0.05], abs=1e-5)
    assert hdr.blended(carried - 5, inverse, ldr).min() == 1, "never darker than the picture"


def test_numbers_by_distance_are_means_of_the_sources_that_have_them() -> None:
    plan: Plan[Any] = Plan({}, ("flow", "copy"), {"e": ("E", ".1f")})
    ones: list[Any] = [
        {"flow": {"e": 5.0, "e@10": 4.0, "e@2": 1.0}, "copy": {"e": 1.0}},
        {"flow": {"e": 5.0, "e@2": 3.0, "e@3": None}, "copy": {"e": 1.0}},
    ]
    assert decays(plan, ones) == {"e": {"flow": {2: 2.0, 10: 4.0}}}
    assert list(decays(plan, ones)["e"]["flow"]) == [2, 10]


# ---------------------------------------------------------------- masks


def test_masks_print_region_and_boundary(bench: Bench) -> None:
    sequence = bench.sequence
    plots = bench.folder / "plots"
    report = bench.report(sequence, "--property", "mask", "--method", "flow", "--plots", plots)
    mean = report["mean"]["all frames"]
    assert set(mean) == {"flow", "copy", "flow_one", "grabcut"}
    assert mean["copy"]["J"] == pytest.approx(50 * (17 / 23 + 14 / 26))
    assert mean["flow_one"]["J"] > 90
    assert mean["flow_one"]["F"] > mean["copy"]["F"]
    assert f"{mean['copy']['J']:.1f}" in bench.out
    assert "all frames: J, region (percent) of each source" in bench.out
    assert [path.name for path in plots.iterdir()] == ["by_sequence.png"]


def test_soft_mattes_have_a_protocol_of_their_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol: Any = ModuleType("stpn.engine.evaluation.soft_mattes")
    protocol.METHODS, protocol.BASELINES, protocol.parse_method = ("flow",), ("copy",), mask.parse_method
    metrics = {"sad": ("SAD", ".2f")}
    given: list[Any] = []

    def plan(sources: Any, photos: Path, methods: Any, baselines: Any) -> Plan[Any]:
        given.extend([[source.name for source in sources], photos, [method.label for method in methods], baselines])
        return Plan({"soft": sources}, ("flow", "copy"), metrics)

    protocol.plan = plan
    protocol.measure = lambda job: {"flow": {"sad": 1.5}, "copy": {"sad": 2.5}}
    monkeypatch.setitem(sys.modules, "stpn.engine.evaluation.soft_mattes", protocol)
    monkeypatch.setattr("stpn.plugin.bench_numbers._said", lambda *_: "done")
    clip, photos = bench.sequence / "frames", bench.folder / "photos"
    photos.mkdir()
    options = (clip, "--property", "mask", "--soft", "--method", "flow", "--photos", photos)
    assert "--soft: expected tar files of photographs in photos, found none; name their --photos" in bench.refused(
        *options
    )
    (photos / "a.tar").touch()
    report = bench.report(*options)
    assert given == [["sequence"], photos, ["flow"], ["copy"]]
    assert report["soft"]
    assert report["mean"] == {"soft": {"flow": {"sad": 1.5}, "copy": {"sad": 2.5}}}


# ---------------------------------------------------------------- through files


def answered(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[tuple[object, ...]]:
    """In place of `stpn propagate`: writes what `answer` gives for a shot; the options it was called with."""
    called: list[tuple[object, ...]] = []

    def propagate(shot: FileShot, *options: object, guide: str = "exr", keys: str = "exr") -> None:
        called.append((*options, guide, keys))
        answer(shot)

    monkeypatch.setattr(FileShot, "propagate", propagate)
    return called


def test_hdr_through_files_is_measured_against_the_scene(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    source = bench.panorama
    scene = panorama.shot_in(read_panorama(source))

    def twice_as_bright(shot: FileShot) -> None:
        assert [shot.path("keys", frame).exists() for frame in range(6)] == [True, *[False] * 4, True]
        guide = cv2.imread(str(shot.path("guide", 3, "png")))
        np.testing.assert_array_equal(guide[..., ::-1], scene.ldr[3])
        for frame in range(6):
            shot.write_linear("result", frame, 2 * scene.scene[frame])

    called = answered(monkeypatch, twice_as_bright)
    plan = hdr.plan(hdr_sources(source), [5], [Method("flow", "flow")], ["copy"], read_panorama)
    numbers = numbers_through_files(bench.folder, "hdr", plan.jobs["K=5"][0])
    found = [hdr_errors(2 * scene.scene[frame], scene.scene[frame], scene.ldr[frame]) for frame in range(1, 5)]
    wanted = np.mean([one["log_rmse"] or 0 for one in found])
    assert numbers["flow+blend"]["log_rmse"] == pytest.approx(wanted)
    assert numbers["flow"] == dict.fromkeys(hdr.METRICS)
    assert numbers["copy"]["log_rmse"] is not None
    assert called == [("--property", "hdr", "--interval", 5, "--method", "flow", "--cuts", "none", "png", "exr")]
    assert [path.name for path in bench.folder.iterdir()] == ["pano.exr"], "files are taken away"


def hdr_sources(path: Path) -> Any:
    from stpn.engine.evaluation.clips import find_sources

    return find_sources([path], "hdr")


def test_masks_through_files_are_measured_where_the_truth_is_known(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stpn.engine.evaluation.clips import find_sources

    sequence = bench.sequence

    def as_the_key(shot: FileShot) -> None:
        key = cv2.imread(str(shot.path("keys", 0, "png")), cv2.IMREAD_UNCHANGED)
        assert key.shape == (HEIGHT, WIDTH)
        for frame in range(FRAMES):
            write_plate(shot.path("result", frame), new_plate({"A": (key / 255).astype(np.float16)}))

    called = answered(monkeypatch, as_the_key)
    plan = mask.plan(find_sources([sequence], "mask"), [mask.parse_method("flow")], ["copy"])
    numbers = numbers_through_files(bench.folder, "mask", plan.jobs["all frames"][0])
    assert numbers["flow"] == pytest.approx(numbers["copy"])
    assert called == [("--property", "mask", "--method", "flow", "--cuts", "none", "png", "png")]


def test_masks_through_the_command_are_nearly_what_memory_gives(bench: Bench) -> None:
    options = (bench.sequence, "--property", "mask", "--method", "flow", "--baseline", "copy")
    memory = bench.report(*options)["mean"]["all frames"]
    files = bench.report(*options, "--through-files")
    assert files["through_files"]
    assert files["mean"]["all frames"]["copy"] == memory["copy"]
    assert files["mean"]["all frames"]["flow"] == pytest.approx(memory["flow"], abs=1.0)


def test_hdr_through_the_command_is_nearly_what_memory_gives(bench: Bench) -> None:
    options = (bench.panorama, "--property", "hdr", "--interval", 5, "--method", "flow", "--baseline", "copy")
    memory = bench.report(*options)["mean"]["K=5"]
    files = bench.report(*options, "--through-files")["mean"]["K=5"]
    assert files["copy+blend"] == memory["copy+blend"]
    assert files["flow"] == dict.fromkeys(hdr.METRICS)
    assert files["flow+blend"]["log_rmse"] == pytest.approx(memory["flow+blend"]["log_rmse"], rel=0.05)


def test_results_that_are_no_numbers_are_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(shot: FileShot) -> None:
        for frame in range(6):
            shot.write_linear("result", frame, np.full((54, 96, 3), np.nan, np.float32))

    answered(monkeypatch, broken)
    options = ("--property", "hdr", "--interval", 5, "--method", "flow", "--baseline", "copy", "--through-files")
    assert bench.run(bench.panorama, *options) == 1
    assert "pano: expected finite results, frame 1 has pixels that are not" in bench.err


# ---------------------------------------------------------------- refusals


def test_options_that_do_not_fit_are_refused(bench: Bench) -> None:
    sequence, pano = bench.sequence, bench.panorama
    flow = ("--method", "flow")
    said = bench.refused(sequence, "--property", "mask", *flow, "--interval", 5, "--worst", 2)
    assert "--interval: expected none with --property mask: keys are as the protocol has them; leave it out" in said
    assert "--worst: expected none with --property mask: it is for color; leave it out" in said
    said = bench.refused(pano, "--property", "hdr", *flow, "--soft")
    assert "--soft: expected none with --property hdr: it is for mask; leave it out" in said
    said = bench.refused(pano, "--property", "hdr", "--method", "floww")
    assert "--method floww: expected one of aligned, flow, stpn" in said
    assert "--baseline grabcut: expected one of copy, flow_one, flow_both" in bench.refused(
        pano, "--property", "hdr", *flow, "--baseline", "grabcut"
    )


def test_a_figure_of_one_panel_holds_its_title_and_all_names() -> None:
    from stpn.plugin.bench_figures import distance_figure

    names = [f"method_{index}+blend" for index in range(7)]
    title = "RMSE of ln(H + 0.01), clipped pixels, over the distance from the nearest key"
    figure = distance_figure(title, {"K=20": {name: {1: 0.1, 2: 0.2} for name in names}})
    figure.canvas.draw()
    assert figure.legends[0].get_texts()[-1].get_text() == names[-1]
    for part in (*figure.texts, figure._suptitle, figure.legends[0]):
        box = part.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
