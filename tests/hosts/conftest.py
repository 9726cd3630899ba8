"""The OpenFX plugin, built once and loaded into a small host; and its worker, or a stand-in for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parent
REPOSITORY = FOLDER.parents[1]

# The helpers beside the tests are modules of no package.
if str(FOLDER) not in sys.path:
    sys.path.insert(0, str(FOLDER))


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built STPNPropagate.ofx.bundle. It has no stpn.conf: see `configured`."""
    cmake = shutil.which("cmake")
    compiler = next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)
    if not cmake or not (os.environ.get("CXX") or compiler):
        pytest.skip("building the OpenFX plugin needs cmake and a C++ compiler")
    build = tmp_path_factory.mktemp("ofx")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    source = REPOSITORY / "plugin/hosts/ofx"
    flags = ["-DCMAKE_CXX_FLAGS=-Werror", f"-DPython3_EXECUTABLE={sys.executable}"]
    prepare = [cmake, "-S", source, "-B", build, *generator, *flags]
    for command in (prepare, [cmake, "--build", build, "--parallel", "2"]):
        finished = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        assert finished.returncode == 0, finished.stdout + finished.stderr
    return build / "STPNPropagate.ofx.bundle"


def configure(bundle: Path, folder: Path, python: str | Path, name: str = "0.1.0-test") -> Path:
    """Copies the bundle into a folder and tells it its installation."""
    copy = folder / "STPNPropagate.ofx.bundle"
    if not copy.exists():
        shutil.copytree(bundle, copy)
    resources = copy / "Contents/Resources"
    resources.mkdir(exist_ok=True)
    (resources / "stpn.conf").write_text(f"python {python}\nname {name}\n")
    return copy


@pytest.fixture
def configured(bundle: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of the bundle that knows its installation: `configured(python, name)`."""
    return lambda python=sys.executable, name="0.1.0-test": configure(bundle, tmp_path, python, name)


class Stand:
    """The stand-in worker's files and record.

    Attributes:
        python: what to name as `python` in stpn.conf.
        folder: the runtime folder, in which socket and log lie.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "run"
        self.folder.mkdir(mode=0o700)
        self.path = folder / "record"
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{FOLDER / "fake_worker.py"}" "$@"\n')
        self.python.chmod(0o755)

    def record(self, what: str) -> list[dict[str, Any]]:
        """What the stand-ins have written down of one kind: started, job, filled, released."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        return [found for found in map(json.loads, lines) if what in found]

    def pids(self) -> list[int]:
        """Every stand-in that was started, in order."""
        return [found["pid"] for found in self.record("started")]

    def running(self) -> list[int]:
        """Those that run, zombies left out."""
        return [pid for pid in self.pids() if self.state(pid) not in ("", "Z")]

    @staticmethod
    def state(pid: int) -> str:
        """R, S, Z ...; "" where there is no such process."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return ""

    def end(self) -> None:
        """Ends every stand-in by its number."""
        for pid in self.running():
            os.kill(pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while self.running() and time.monotonic() < end:
            time.sleep(0.01)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """A stand-in worker of this test's own."""
    found = Stand(tmp_path)
    monkeypatch.setenv("STPN_RUNTIME_DIR", str(found.folder))
    monkeypatch.setenv("STPN_FAKE_RECORD", str(found.path))
    monkeypatch.delenv("STPN_FAKE", raising=False)
    yield found
    found.end()


@pytest.fixture(scope="module")
def stand_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """One stand-in for all tests of a module, with room for large pictures."""
    found = Stand(tmp_path_factory.mktemp("stand"))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("STPN_RUNTIME_DIR", str(found.folder))
        monkeypatch.setenv("STPN_FAKE_RECORD", str(found.path))
        monkeypatch.setenv("STPN_FAKE_MEMORY", str(512 << 20))
        monkeypatch.setenv("STPN_WORKER_IDLE", "10")
        monkeypatch.delenv("STPN_FAKE", raising=False)
        yield found
    found.end()


@pytest.fixture(scope="module")
def bundle_of_module(bundle: Path, stand_of_module: Stand, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that starts it."""
    return configure(bundle, tmp_path_factory.mktemp("configured"), stand_of_module.python)
