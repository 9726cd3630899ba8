"""bench/gpu.sh, the one script for whoever has a GPU: tests come first, and every command is one that stpn takes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from stpn.plugin import cli
from stpn.plugin.cli import bench, engine

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "gpu.sh"


def commands(folder: Path, *, tests_pass: bool) -> tuple[int, list[list[str]]]:
    """Exit code of the script, and what it would have run in Python."""
    bash = shutil.which("bash")
    if not bash:
        pytest.skip("needs bash")
    log, python = folder / "log", folder / "bin" / "python3"
    python.parent.mkdir()
    fails = "" if tests_pass else '[ "$2" = pytest ] && exit 1\n'
    python.write_text(f'#!{bash}\necho "$STPN_REQUIRE_GPU $@" >> "{log}"\n{fails}exit 0\n')
    python.chmod(0o755)
    paths = {**os.environ, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}"}
    paths.pop("STPN_REQUIRE_GPU", None)
    done = subprocess.run([bash, SCRIPT, folder / "results"], env=paths, capture_output=True, text=True, check=False)
    return done.returncode, [line.split(" ") for line in log.read_text().splitlines()]


def test_a_failed_test_ends_it(tmp_path: Path) -> None:
    code, ran = commands(tmp_path, tests_pass=False)
    assert (code, ran) == (1, [["1", "-m", "pytest", "-q", "-m", "gpu", "tests"]])


def test_every_command_is_one_that_stpn_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, ran = commands(tmp_path, tests_pass=True)
    assert code == 0
    measured, built = [], []
    monkeypatch.setattr(bench, "run", lambda args: measured.append(args) or 0)
    monkeypatch.setattr(engine, "run", lambda args: built.append(args) or 0)
    for words in ran[1:]:
        assert words[:3] == ["", "-m", "stpn.plugin.cli"]
        assert cli.main(words[3:]) == 0
    # what is measured in TensorRT has an engine
    assert [(one.property, one.method, one.size) for one in built] == [
        ("color", "stpn", ["512x512"]),
        ("color", "aligned", ["1920x1080", "3840x2160"]),
        ("mask", "aligned", ["1920x1080"]),
    ]
    assert [one.device for one in measured] == ["cuda", "tensorrt", "cpu"]
    for one in measured:
        assert one.part == ["operator", "network", "method"]
        assert one.size == ["1080p", "4K"]
        assert one.json.parent == tmp_path / "results"
