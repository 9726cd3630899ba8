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

from stpn.engine.evaluation import color
from stpn.engine.evaluation.clips import read_frames
from stpn.engine.evaluation.methods import parse_method
from stpn.ocio.plate import read_plate
from stpn.plugin.bench_files import BenchError, through_files
from stpn.plugin.cli import main

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


def members(session: int) -> list[str]:
    """Processes of a session that are still there."""
    listed = subprocess.run(["ps", "-eo", "sess=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [row[2] for row in rows if row[0] == str(session) and not row[1].startswith("Z")]


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
