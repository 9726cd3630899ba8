"""Names with everything that a shell would take for an order, wherever we start a process or write a line that is read
again."""

from __future__ import annotations

import ast
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stpn.plugin.hosts import placing
from stpn.plugin.hosts.places import HOSTS, PlaceError
from stpn.plugin.worker_start import Cancelled, Installation, WorkerError, connected

ROOT = Path(__file__).resolve().parents[2]
ODD = "a b'\"$(touch owned)`touch owned`;touch owned|&<>*?[x]{y}~#!%\\ é"
SOURCES = sorted(
    path
    for folder in ("plugin", "engine", "ocio", "bench", "examples")
    for path in (ROOT / folder).rglob("*.py")
    if "__pycache__" not in path.parts
)


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute):
                owner = function.value.id if isinstance(function.value, ast.Name) else ""
                found.append((f"{owner}.{function.attr}", node))
            elif isinstance(function, ast.Name):
                found.append((function.id, node))
    return found


def test_nothing_is_given_to_a_shell_and_nothing_foreign_is_run() -> None:
    assert len(SOURCES) > 100
    forbidden = {"os.system", "os.popen", "eval", "exec", "torch.load", "marshal.loads"}
    for path in (*SOURCES, ROOT / "install.py"):
        for name, call in calls(path):
            where = f"{path}:{call.lineno}: {name}"
            assert name not in forbidden, where
            # between processes of one run only, through pipes that nobody else has
            assert name not in ("pickle.load", "pickle.loads") or path.name == "workers.py", where
            assert not {keyword.arg for keyword in call.keywords} & {"shell", "allow_pickle"}, where


@pytest.mark.parametrize("name", ["nuke", "blender", "comfyui"])
def test_a_host_may_lie_in_a_folder_of_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / ODD / "python"
    python.parent.mkdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.chdir(tmp_path)
    placed = placing.place(HOSTS[name], tmp_path / ODD / "plugins\n; touch owned")
    assert Installation.read(placed.folder / HOSTS[name].resources / placing.CONF).python == str(python)
    assert placing.noted() == [placed]
    assert placing.take_out(placed)
    assert not placed.folder.exists()
    assert not list(tmp_path.rglob("owned"))


@pytest.mark.parametrize("path", ["/x\npython /evil", "/x\rname y", "/x\x1b[31m/python", "/x/python "])
def test_a_python_whose_path_would_be_read_as_another_line_is_refused(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(sys, "executable", path)
    with pytest.raises(PlaceError) as error:
        placing.place(HOSTS["nuke"], tmp_path / "plugins")
    assert str(error.value).isprintable()
    assert not (tmp_path / "plugins/stpn").exists()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="the worker needs Unix sockets")
def test_the_worker_is_started_by_its_own_name_whatever_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ODD
    folder.mkdir()
    python = folder / "python"
    python.write_text('#!/bin/sh\nfor one in "$@"; do printf "%s\\n" "$one"; done > "$0.told"; exit 3\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STPN_RUNTIME_DIR", str(tmp_path / "$(touch owned) r"))
    deadline = time.monotonic() + 10
    with pytest.raises((WorkerError, Cancelled)) as error:
        connected(Installation(str(python), "n"), "auto", lambda: time.monotonic() > deadline)
    assert "code 3" in str(error.value)
    told = (folder / "python.told").read_text().splitlines()
    socket_path = str(tmp_path / "$(touch owned) r/auto-n.sock")
    assert told == ["-P", "-m", "stpn.plugin.cli", "worker", "--socket", socket_path, "--device", "auto"]
    assert not list(tmp_path.rglob("owned"))


def test_what_a_host_sets_for_its_own_python_does_not_reach_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    from stpn.plugin.worker_start import clean_environment

    for name in ("PYTHONPATH", "PYTHONHOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONSTARTUP", "BASH_ENV", "ENV"):
        monkeypatch.setenv(name, "/evil")
    assert "/evil" not in clean_environment().values()


def test_install_takes_any_folder(tmp_path: Path) -> None:
    folder = tmp_path / f"{ODD}\n$(touch owned)"
    (folder / "requirements").mkdir(parents=True)
    for name in ("install.py", "pyproject.toml", *(f"requirements/{one}.txt" for one in ("cpu", "test", "gpu"))):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for name in ("engine", "ocio", "plugin", "examples"):
        (folder / name).mkdir()
    done = subprocess.run(
        [sys.executable, str(folder / "install.py"), "test", "--dry-run"],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=60,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.rglob("owned"))
