"""`stpn farm opencue`: pyoutline makes its outline a job, whose frames rqd runs for a stand-in of Cuebot."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from farm_tools import REPOSITORY, STPN, clean, farm_python, farmed, shot_files, studio_of

from stpn.plugin.farm.opencue import layer_name, quoted
from stpn.plugin.render import render
from stpn.plugin.request import Request
from stpn.plugin.shot import check

ODD = """it's "a" $(touch oh) `b` {{Param.Frames}} {x} & ; | < > * ~ !x %y% \\\\n"""


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python with pyoutline and rqd."""
    if not shutil.which("time", path="/usr/bin"):
        pytest.skip("rqd needs /usr/bin/time")
    return farm_python("opencue")


def ran(python: Path, job: Path, folder: Path) -> dict[str, Any]:
    """What happened to a job on the stand-in."""
    folder.mkdir()
    script = REPOSITORY / "tests" / "farm" / "opencue_stand_in.py"
    done = subprocess.run(
        [python, script, job / "stpn_outline.py", folder], capture_output=True, text=True, timeout=400, cwd=folder,
        env=clean(HOME=str(folder)),
    )  # fmt: skip
    logs = [path.read_text(errors="replace") for path in sorted(folder.glob("**/*log"))]
    assert done.returncode == 0, done.stderr + "\n".join(logs)
    found: dict[str, Any] = json.loads(done.stdout)
    found["logs"] = "\n".join(logs)
    return found


def test_rqd_runs_the_layers_in_order_and_their_chunks_are_one_run(tmp_path: Path, python: Path) -> None:
    studio = studio_of(tmp_path / ODD)
    studio.plate(range(1001, 1012))
    studio.keys((1003, 1007, 1011))
    # a machine that breaks down once, in the middle of a chunk
    machine, broken = tmp_path / "machine", tmp_path / "broken"
    machine.write_text(
        f'#!/bin/sh\nif test -e "{broken}"; then case "$*" in *--frames=1003-1006*) rm "{broken}"\n'
        f'"{STPN}" "$@" --frames 1003-1004; exit 7;; esac; fi\nexec "{STPN}" "$@"\n'
    )
    machine.chmod(0o755)
    broken.touch()
    options = ["--method", "flow", "--to", str(tmp_path / "job"), "--stpn", str(machine), "--reports", "--name", ODD]
    assert farmed("opencue", *shot_files(studio), *options) == 0
    found = ran(python, tmp_path / "job", tmp_path / "rqd")
    assert found["layers"] == {
        "analyse": {"chunk": 1, "needs": []},
        "propagate": {"chunk": 2, "needs": ["analyse"]},
        "propagate2": {"chunk": 4, "needs": ["analyse"]},
        "sheet": {"chunk": 1, "needs": ["propagate", "propagate2"]},
    }
    happened = [tuple(one) for one in found["happened"]]
    assert happened[0] == ("analyse", "1", 0)
    assert happened[-1] == ("sheet", "1", 0), found["logs"]
    assert sorted(happened[1:-1]) == [
        ("propagate", "1001-1002", 0),
        ("propagate2", "1003-1006", 0),
        ("propagate2", "1003-1006", 7),
        ("propagate2", "1007-1010", 0),
        ("propagate2", "1011", 0),
    ]
    report = json.loads((studio.folder / "out.report.1003-1006.json").read_text())
    assert [frame["status"] for frame in report["frames"]] == ["skipped", "skipped", "carried", "carried"]
    request = Request(*(f"{studio.folder}/{name}.####.exr" for name in ("plate", "key", "one")), method="flow")
    for _ in render(check(request)):
        pass
    assert {name: data for name, data in studio.contents("out.").items() if name.endswith(".exr")} == (
        studio.contents("one.")
    )
    assert not list(tmp_path.rglob("oh"))


@pytest.mark.parametrize(
    "word",
    [
        "plain",
        "",
        "it's",
        "plate.####.exr",
        "#FRAME# #LAYER##JOB#",
        "'#ZFRAME#'",
        "$(x) `y` \\ \" ' !",
        "#",
        "##FRAMESPEC#",
    ],
)
def test_a_shell_reads_what_was_quoted_and_cuebot_finds_no_token(word: str) -> None:
    said = quoted(word)
    assert shlex.split(said) == [word]
    done = subprocess.run(["sh", "-c", f"printf %s {said}"], capture_output=True, text=True, check=True)
    assert done.stdout == word
    for token in ("ZFRAME", "IFRAME", "FRAME", "LAYER", "JOB", "FRAMESPEC"):
        assert f"#{token}#" not in said


def test_names_of_jobs_are_those_that_opencue_takes() -> None:
    assert layer_name("stpn out.####.exr") == "stpn_out_exr"
    assert layer_name("äö") == "stpn"
    assert layer_name("x" * 60) == "x" * 48


def test_many_lengths_of_chunks_become_one_layer(tmp_path: Path) -> None:
    studio = studio_of(tmp_path / "shot")
    studio.plate(range(1, 60))
    studio.keys((1, 2, 4, 7, 11, 16, 22, 29, 37, 46, 56))
    assert farmed("opencue", *shot_files(studio), "--method", "flow", "--to", str(tmp_path / "job"), "--no-sheet") == 0
    text = (tmp_path / "job" / "stpn_outline.py").read_text()
    assert text.count('"type": "Render"') == 1
    assert '"range": "1-59", "chunk": 5, ' in text
