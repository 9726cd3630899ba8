"""The report of a run: whole however the run ends, and true."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from stpn.ocio import atomic
from stpn.plugin import render as rendering
from stpn.plugin.report import FORMAT, Report
from stpn.plugin.request import Request, RequestError


@pytest.fixture
def shot(studio: Any) -> Any:
    studio.plate()
    studio.keys()
    return studio


def reported(studio: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((studio.folder / "report.json").read_text(encoding="utf-8"))
    return found


def run(studio: Any, *options: str) -> Any:
    return studio.run("--method", "flow", f"--report={studio.folder}/report.json", *options)


def statuses(report: dict[str, Any]) -> list[str]:
    return [frame["status"] for frame in report["frames"]]


def test_a_run_that_went_well(shot: Any) -> None:
    done = run(shot, "--json", "--frames", "1001-1003", "--compression", "piz")
    report = reported(shot)
    assert (report["report"], report["status"], report["exit_code"], report["problems"]) == (FORMAT, "done", 0, [])
    assert report["frames"] == [json.loads(line) for line in done.out.splitlines()]
    assert statuses(report) == ["key", "carried", "carried"]
    assert report["counts"] == {"key": 1, "carried": 2, "skipped": 0, "failed": 0, "not tried": 0}
    assert report["request"]["method"] == "flow"
    assert report["request"]["compression"] == "piz"
    assert "cuts: none found" in report["decisions"]
    assert set(report["libraries"]) >= {"numpy", "OpenEXR"}
    assert report["seconds"] > 0
    assert report["began"].endswith("+00:00")
    run(shot, "--skip-existing", "--frames", "1002-1004", "--compression", "piz")
    assert statuses(reported(shot)) == ["skipped", "skipped", "carried"]


def test_a_request_that_is_refused(shot: Any) -> None:
    done = run(shot, "--frames", "1-3", "--working", "nothing")
    report = reported(shot)
    assert (done.code, report["status"], report["exit_code"], report["frames"]) == (2, "refused", 2, [])
    assert [f"stpn propagate: {problem}" for problem in report["problems"]] == done.err.splitlines()
    assert shot.contents("out.") == {}


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that has no room for frame 1003."""
    honest = os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target).name == "out.1003.exr":
            raise OSError(28, os.strerror(28))
        honest(source, target)

    monkeypatch.setattr(atomic.os, "replace", replace)


@pytest.mark.usefixtures("full")
def test_a_run_that_fails(shot: Any) -> None:
    done = run(shot, "--threads", "1")
    report = reported(shot)
    assert (done.code, report["status"], report["exit_code"]) == (1, "failed", 1)
    assert statuses(report) == ["key", "carried", "failed", "not tried", "not tried"]
    assert report["problems"] == [report["frames"][2]["error"]]
    assert "out.1003.exr: cannot be written" in report["frames"][2]["error"]


@pytest.mark.usefixtures("full")
def test_a_run_that_goes_on_after_a_failure(shot: Any) -> None:
    done = run(shot, "--keep-going")
    report = reported(shot)
    assert (done.code, report["status"], report["exit_code"]) == (1, "failed", 1)
    assert statuses(report) == ["key", "carried", "failed", "carried", "key"]
    assert report["problems"] == ["failed: frames 1003; the others are there; run again with --skip-existing"]
    assert f"stpn propagate: {report['problems'][0]}" in done.err.splitlines()


def test_a_run_that_is_cancelled(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = rendering.render

    def cancelling(shot: Any, cancelled: Any) -> Any:
        for frame in honest(shot, cancelled):
            yield frame
            cancelled.set()

    monkeypatch.setattr(rendering, "render", cancelling)
    done = run(shot, "--threads", "1")
    report = reported(shot)
    assert (done.code, report["status"], report["exit_code"]) == (130, "cancelled", 130)
    assert statuses(report)[0] == "key"
    assert statuses(report)[-1] == "not tried"


def test_what_stays_of_a_run_that_is_killed(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    honest = rendering.render
    monkeypatch.setattr(rendering, "render", lambda *given: (seen.append(reported(shot)), honest(*given))[1])
    run(shot)
    (report,) = seen
    assert (report["status"], report["exit_code"], statuses(report)) == ("running", None, ["not tried"] * 5)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("report.txt", "--report {}: expected .json, got .txt"),
        ("nowhere/report.json", "--report {}: expected a folder that exists, {}/nowhere is none; make it"),
    ],
)
def test_a_report_that_cannot_lie_there_is_refused(shot: Any, path: str, message: str) -> None:
    before = shot.files()
    done = shot.run(f"--report={shot.folder}/{path}")
    assert done.code == 2
    assert done.err == f"stpn propagate: {message.format(shot.folder / path, shot.folder)}\n"
    assert shot.files() == before


def test_a_report_that_cannot_be_written_is_refused_before_the_work(shot: Any) -> None:
    (shot.folder / "report.json").mkdir()
    done = run(shot)
    assert done.code == 2
    assert "report.json: cannot be written: Is a directory" in done.err
    assert shot.contents("out.") == {}


def test_a_report_that_cannot_be_written_in_the_end_makes_it_1(shot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, left = os.replace, [1]

    def replace(source: Path, target: Path) -> None:
        if Path(target).suffix == ".json" and not left:
            raise OSError(28, os.strerror(28))
        if Path(target).suffix == ".json":
            left.pop()
        honest(source, target)

    monkeypatch.setattr(atomic.os, "replace", replace)
    done = run(shot)
    assert done.code == 1
    assert "report.json: cannot be written: No space left on device; free some space" in done.err
    assert reported(shot)["status"] == "running"
    assert len(shot.contents("out.")) == 5


def test_nobody_asked_for_one(tmp_path: Path) -> None:
    report = Report(None, Request("a", "b", "c"))
    assert report.end("done", 0) == 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RequestError):
        Report(tmp_path / "a.exr", Request("a", "b", "c"))
