"""`stpn bench quality` as a person runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from stpn.engine.evaluation import color, hdr, panorama
from stpn.engine.evaluation.clips import read_frames
from stpn.engine.evaluation.methods import parse_method
from stpn.ocio.plate import new_plate, read_plate, write_plate
from stpn.plugin.cli import main
from stpn.plugin.cli.bench import BenchError, through_files

Array = np.ndarray[Any, Any]
FRAMES, HEIGHT, WIDTH = 12, 48, 64


def moving(frame: int, seed: int = 0) -> Array:
    """(H, W, 3) uint8 BGR: colored spots that move to the left by a pixel a frame."""
    noise = np.random.default_rng(seed).normal(size=(HEIGHT, 2 * WIDTH, 3)).astype(np.float32)
    spots = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.clip(128 + 45 * (spots / spots.std()), 0, 255)[:, frame : frame + WIDTH].astype(np.uint8)


def write_clip(folder: Path, frames: int = FRAMES, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    for frame in range(frames):
        cv2.imwrite(str(folder / f"{frame:04d}.png"), moving(frame, seed))
    return folder


class Bench:
    """The command, run in this process.

    Attributes:
        folder: where clips lie and results go.
        out, err: what was said, the folder's name left out.
    """

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.clip = write_clip(folder / "moving")
        self.out = self.err = ""
        self._capture = capture

    def run(self, *options: object) -> int:
        self._capture.readouterr()
        try:
            code = main(["bench", "quality", *map(str, options)])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = self._capture.readouterr()
        self.out, self.err = (text.replace(f"{self.folder}/", "") for text in (said.out, said.err))
        return code

    def report(self, *options: object) -> dict[str, Any]:
        file = self.folder / "report.json"
        assert self.run(*options, "--jobs", 1, "--json", file) == 0, self.err
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def refused(self, *options: object) -> str:
        """What is said where a request is wrong; nothing may have been written."""
        before = sorted(self.folder.rglob("*"))
        assert self.run(*options) == 2
        assert sorted(self.folder.rglob("*")) == before
        assert self.out == ""
        return self.err


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.delenv("OCIO", raising=False)
    return Bench(tmp_path, capsys)


# ---------------------------------------------------------------- color


def test_methods_side_by_side(bench: Bench) -> None:
    plots = bench.folder / "new/plots"
    report = bench.report(
        bench.clip, "--interval", 6, 4, "--method", "flow", "aligned", "--baseline", "copy", "flow_one",
        "--plots", plots, "--worst", 2,
    )  # fmt: skip
    assert (report["property"], report["through_files"], report["clips"]) == ("color", False, ["moving"])
    assert list(report["mean"]) == ["4", "6"]
    mean = report["mean"]["6"]
    assert list(mean) == ["copy", "flow_one", "flow", "aligned"]
    assert mean["flow"]["psnr"] > mean["copy"]["psnr"] + 3
    assert report["gain"]["6"]["flow"]["copy"]["mean"] == pytest.approx(mean["flow"]["psnr"] - mean["copy"]["psnr"])
    assert report["confidence"]["6"]["flow"]["auc"] > 0.5
    assert f"{mean['flow']['psnr']:.2f}" in bench.out
    assert "[2/2] moving K=6  copy" in bench.err
    names = {"psnr_over_distance", "psnr_by_clip", "error_by_confidence", "worst_K4", "worst_K6"}
    assert {path.stem for path in plots.iterdir()} == names
    assert all(cv2.imread(str(path)) is not None for path in plots.iterdir())


def test_clips_run_side_by_side(bench: Bench) -> None:
    write_clip(bench.folder / "other", seed=1)
    alone = bench.report(bench.clip, bench.folder / "other", "--interval", 6, "--method", "flow")
    file = bench.folder / "together.json"
    assert bench.run(bench.folder, "--interval", 6, "--method", "flow", "--jobs", 2, "--json", file) == 0, bench.err
    together = json.loads(file.read_text())
    assert together["by_clip"] == alone["by_clip"]
    assert together["clips"] == ["moving", "other"]


def test_the_defaults(bench: Bench) -> None:
    report = bench.report(bench.clip)
    assert list(report["mean"]) == ["10", "20", "30", "40"]
    assert list(report["mean"]["10"]) == ["copy", "flow_both", "aligned"]


def test_through_files_is_nearly_what_memory_gives(bench: Bench) -> None:
    memory = bench.report(bench.clip, "--interval", 6, "--method", "flow")
    files = bench.report(bench.clip, "--interval", 6, "--method", "flow", "--through-files")
    assert files["through_files"]
    for name in ("copy", "flow_both"):
        assert files["mean"]["6"][name] == memory["mean"]["6"][name], "baselines have no files"
    assert files["mean"]["6"]["flow"]["psnr"] == pytest.approx(memory["mean"]["6"]["flow"]["psnr"], abs=0.3)
    assert files["confidence"]["6"]["flow"]["auc"] == pytest.approx(memory["confidence"]["6"]["flow"]["auc"], abs=0.02)
    assert files["style"]["6"]["flow"]["energy"] == pytest.approx(memory["style"]["6"]["flow"]["energy"], abs=0.02)


def test_a_render_that_fails_is_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIO", "/nonsense/config.ocio")
    assert bench.run(bench.clip, "--interval", 6, "--method", "flow", "--through-files", "--jobs", 1) == 1
    assert "moving: stpn propagate ended with exit code 2" in bench.err
    assert "/nonsense/config.ocio" in bench.err
    assert bench.out == ""


def test_a_clip_that_cannot_be_read_is_an_error(bench: Bench) -> None:
    (bench.folder / "broken.mp4").write_bytes(b"no video")
    assert bench.run(bench.folder / "broken.mp4", "--interval", 6, "--jobs", 1) == 1
    assert "broken.mp4: expected a video or numbered pictures, no frame could be decoded" in bench.err


# ---------------------------------------------------------------- refusals


def test_wrong_requests_are_refused_whole(bench: Bench) -> None:
    said = bench.refused(
        bench.folder / "gone", "--interval", 1, "--method", "floww", "flow", "--baseline", "copie", "--jobs", -1,
        "--json", bench.folder / "nowhere/a.json", "--plots", bench.clip / "0000.png",
    )  # fmt: skip
    for problem in (
        "stpn bench: gone: expected a video",
        "stpn bench: --interval 1: expected 2 or more",
        "stpn bench: --method floww: expected one of aligned, flow, stpn",
        "stpn bench: --baseline copie: expected one of copy, flow_one, flow_both",
        "stpn bench: --jobs -1: expected 1 or more",
        "stpn bench: --json nowhere/a.json: expected a file in a folder that is there",
        "stpn bench: --plots moving/0000.png: expected a folder, found a file",
    ):
        assert problem in said


def test_options_that_do_not_go_together(bench: Bench) -> None:
    assert "--worst 3: expected 1 or more, and --plots" in bench.refused(bench.clip, "--worst", 3)
    from stpn.engine.weights import shipped

    own = f"mine={shipped('color')}"
    said = bench.refused(bench.clip, "--method", own, "--through-files")
    assert "--through-files: expected methods of stpn propagate, got mine; leave one out" in said
    assert "got 'stpn' twice" in bench.refused(bench.clip, "--method", "stpn", f"stpn={shipped('color')}")


@pytest.mark.parametrize(("prop", "name"), [("hdr", "pano.exr"), ("mask", "sequence")])
def test_methods_are_refused_where_there_are_baselines_only(bench: Bench, prop: str, name: str) -> None:
    source = bench.folder / name
    if prop == "hdr":
        source.touch()
    else:
        (source / "masks").mkdir(parents=True)
        (source / "frames").mkdir()
    said = bench.refused(source, "--property", prop, "--method", "flow")
    assert f"--method: expected none with --property {prop}: there are baselines only so far; leave it out" in said


@pytest.mark.parametrize("options", [[], ["--through-files"]], ids=["in memory", "through files"])
def test_cancelled_work_leaves_nothing_behind(bench: Bench, options: list[str]) -> None:
    clips = [write_clip(bench.folder / f"long{number}", 30, number) for number in range(2)]
    (bench.folder / "temporary").mkdir()
    code = "import sys; from stpn.plugin.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "bench", "quality", *map(str, clips), "--jobs", "2", "--json", "late.json"]
    running = subprocess.Popen(
        [*command, "--method", "flow", *options], cwd=bench.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, env={**os.environ, "TMPDIR": str(bench.folder / "temporary")},
        # whoever runs the tests in the background has them ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert running.stderr is not None
    try:
        first = running.stderr.readline()  # the processes are at work
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=300)
    finally:
        running.kill()
    assert "[1/8] long" in first
    assert (running.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert err.endswith("stpn bench: cancelled\n")
    assert not (bench.folder / "late.json").exists()
    assert not members(running.pid)
    assert not list((bench.folder / "temporary").glob("stpn-bench-*"))


def members(group: int) -> list[str]:
    """Processes of a group that are still there."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [row[2] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


# ---------------------------------------------------------------- hdr and mask


def test_hdr_prints_baselines_with_and_without_blending(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FRAMES": 6, "WIDTH": 96, "HEIGHT": 54}.items():
        monkeypatch.setattr(panorama, name, value)
    light = np.exp(cv2.GaussianBlur(np.random.default_rng(0).normal(size=(128, 256, 3)), (0, 0), 3) * 8)
    channels = {name: light[..., index].astype(np.float32) for index, name in enumerate("RGB")}
    write_plate(bench.folder / "pano.exr", new_plate(channels))
    report = bench.report(bench.folder / "pano.exr", "--property", "hdr", "--interval", 5)
    mean = report["mean"]["K=5"]
    plain = ["copy", "flow_one", "flow_both"]
    assert list(mean) == ["inverse", *plain, *(f"{name}+blend" for name in plain)]
    assert report["by_source"]["K=5"]["pano"] == mean
    assert mean["copy+blend"]["log_rmse"] < mean["copy"]["log_rmse"]
    assert mean["copy"]["log_rmse_clipped"] is not None
    assert "inverse" in bench.out
    assert f"{mean['copy']['pu21_psnr']:.2f}" in bench.out
    broken = bench.folder / "broken.exr"
    broken.write_bytes(b"no picture")
    assert bench.run(broken, "--property", "hdr", "--interval", 5, "--jobs", 1) == 1
    assert "broken.exr" in bench.err


def test_blending_leaves_what_the_camera_saw() -> None:
    carried, inverse = np.full((1, 3, 3), 2, np.float32), np.full((1, 3, 3), 1, np.float32)
    ldr = np.zeros((1, 3, 3), np.uint8)
    ldr[0, :, 1] = [200, 255, 249]  # 0.95 is 242.25, 1 is 255
    mixed = hdr.blended(carried, inverse, ldr)[0, :, 0]
    assert mixed == pytest.approx([1, 2, 1 + (249 / 255 - 0.95) / 0.05], abs=1e-5)
    assert hdr.blended(carried - 5, inverse, ldr).min() == 1, "never darker than the picture"


def test_masks_print_region_and_boundary(bench: Bench) -> None:
    folder = bench.folder / "sequence"
    (folder / "masks").mkdir(parents=True)
    write_clip(folder / "frames")
    for frame in (0, 3, 6):
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[15:35, 30 - frame : 50 - frame] = 255
        cv2.imwrite(str(folder / f"masks/{frame:05d}.png"), mask)
    report = bench.report(folder, "--property", "mask")
    mean = report["mean"]["all frames"]
    assert list(mean) == ["copy", "flow_one", "grabcut"]
    assert mean["copy"]["J"] == pytest.approx(50 * (17 / 23 + 14 / 26))
    assert mean["flow_one"]["J"] > 90
    assert mean["flow_one"]["F"] > mean["copy"]["F"]
    assert "flow_one" in bench.out
    assert "--interval: expected none" in bench.refused(folder, "--property", "mask", "--interval", 5)


# ---------------------------------------------------------------- against the yardstick


def test_results_through_files_score_as_with_the_yardstick(shared: Path, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("yardstick", shared / "yardstick/yardstick.py")
    assert spec is not None
    assert spec.loader is not None
    yardstick: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(yardstick)
    (tmp_path / "clip").mkdir()
    video = cv2.VideoCapture(str(shared / "data/clips/bikes_b.mp4"))
    for number, (_, frame) in enumerate(islice(iter(video.read, (False, None)), 22)):
        cv2.imwrite(str(tmp_path / f"clip/{number:05d}.png"), cv2.resize(frame, None, fx=0.5, fy=0.5))

    clip = color.ColorClip("clip", read_frames(tmp_path / "clip"))
    results = through_files(clip, 20, parse_method("flow"), tmp_path / "files")
    own = color.score(clip, 20, "flow", results)

    prepare = {"property": "color", "source": tmp_path / "clip", "interval": 20, "out": tmp_path / "shot", "start": 0}
    said = StringIO()
    with redirect_stdout(said):
        yardstick.run_prepare(yardstick.argparse.Namespace(**prepare, format="exr"))
    for name in ("guide", "keys"):
        ours, theirs = (
            {int(path.suffixes[0][1:]): path for path in (tmp_path / folder / name).iterdir()}
            for folder in ("files", "shot")
        )
        assert set(ours) == set(theirs)
        for number, path in theirs.items():
            np.testing.assert_allclose(read_plate(ours[number]).color(), read_plate(path).color(), atol=1e-6)
    said = StringIO()
    score = {"property": "color", "shot": tmp_path / "shot", "result": tmp_path / "files/result", "interval": 20}
    with redirect_stdout(said):
        yardstick.run_score(yardstick.argparse.Namespace(**score))
    theirs_scored = json.loads(said.getvalue())
    assert theirs_scored["frames"] == len(own.frames)
    assert own.psnr == pytest.approx(theirs_scored["psnr"], abs=0.02)
    assert own.rmse == pytest.approx(theirs_scored["rmse"], rel=0.002)


def test_a_failed_render_names_the_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCIO", "/nonsense/config.ocio")
    frames = np.stack([moving(frame)[..., ::-1] for frame in range(4)])
    with pytest.raises(BenchError, match="dull: stpn propagate ended with exit code 2"):
        list(through_files(color.ColorClip("dull", frames), 3, parse_method("flow"), tmp_path))
