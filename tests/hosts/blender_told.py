"""For the tests of the Blender add-on: a Python with Blender, and all that the scene script does in it, done once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blender_shots import make_shots
from filelock import FileLock

from stpn.ocio.plate import read_plate
from stpn.plugin import node

REPOSITORY = Path(__file__).resolve().parents[2]
ADDON = REPOSITORY / "plugin" / "hosts" / "blender"
SCRIPT = Path(__file__).with_name("blender_scene.py")
LOCK = REPOSITORY / "requirements" / "blender.txt"
SECONDS_TO_INSTALL = 900
SECONDS_TO_RUN = 300
TRIED = (
    "description", "color", "again", "part", "other_format", "mattes", "layers", "wrong", "cancelled", "modal", "kept",
    "bare", "cyclic", "enabled",
)  # fmt: skip
VERSIONS = ["5.0", "4.2"] if os.environ.get("STPN_BLENDER_PYTHON_42") else ["5.0"]


def blender_environment() -> Path:
    """The Python of an environment with bpy, made on first use. Skips with the reason where it cannot be made."""
    folder = REPOSITORY / ".cache" / "blender-5.0"
    folder.parent.mkdir(exist_ok=True)
    python = folder / "bin" / "python"
    stamp = folder / "made-from"
    wanted = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    with FileLock(f"{folder}.lock", timeout=SECONDS_TO_INSTALL):
        if stamp.is_file() and stamp.read_text() == wanted and python.exists():
            return python
        base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
        if base is None:
            pytest.skip("Blender as a module needs Python 3.11, found none; or set STPN_BLENDER_PYTHON")
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(LOCK)]
        for command in ([base, "-m", "venv", str(folder)], pip):
            try:
                made = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_INSTALL)
            except subprocess.TimeoutExpired:
                pytest.skip(f"Blender as a module could not be installed within {SECONDS_TO_INSTALL} s")
            if made.returncode:
                last = (made.stdout + made.stderr).strip().splitlines()[-1:]
                pytest.skip(f"Blender as a module cannot be installed ({LOCK.name}): {' '.join(last)}")
        stamp.write_text(wanted)
    return python


def blender_python(version: str) -> Path:
    """A Python that imports bpy. Skips with the reason where there is none."""
    named = os.environ.get("STPN_BLENDER_PYTHON_42" if version == "4.2" else "STPN_BLENDER_PYTHON")
    python = Path(named) if named else blender_environment()
    tried = subprocess.run([python, "-c", "import bpy"], capture_output=True, text=True, env=clean())
    if tried.returncode:
        why = (tried.stderr.strip().splitlines() or ["no message"])[-1]
        if named:
            pytest.fail(f"{python}: expected a Python with bpy: {why}")
        pytest.skip(f"Blender as a module does not start here: {why}")
    return python


def clean(**more: str) -> dict[str, str]:
    """This environment without what points at a Python, and with a home where Blender finds no settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | more


def sys_prefix(python: Path) -> str:
    """The installation that an environment was made from, which PYTHONHOME may name without breaking it."""
    code = "import sys; print(sys.base_prefix)"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, env=clean(), check=True).stdout.strip()


class Told:
    """What the scene script saw, and the folder of its files."""

    def __init__(self, folder: Path, told: dict[str, Any]) -> None:
        self.folder = folder
        self.told = told

    def __getitem__(self, name: str) -> Any:
        found = self.told[name]
        assert "failed" not in found, found["failed"]
        return found

    def rendered(self, folder: str, frame: int, kind: str = "image") -> dict[str, np.ndarray[Any, Any]]:
        """What Blender's compositor wrote."""
        return read_plate(self.folder / folder / f"{kind}_{frame:04d}.exr").part_pixels(0)

    def file(self, path: str) -> dict[str, np.ndarray[Any, Any]]:
        """A file of the folder."""
        return read_plate(self.folder / path).part_pixels(0)


_TOLD: dict[str, Told] = {}


def tell(version: str, factory: pytest.TempPathFactory) -> Told:
    """Everything that is done in Blender, in one process; done once for all modules of tests."""
    if version not in _TOLD:
        _TOLD[version] = _run_blender(blender_python(version), factory.mktemp("blender"))
    return _TOLD[version]


def _run_blender(blender: Path, folder: Path) -> Told:
    addon = folder / "addons" / "stpn_propagate"
    shutil.copytree(ADDON, addon, ignore=shutil.ignore_patterns("__pycache__"))
    (addon / "node.json").write_text(node.as_json(), encoding="utf-8")
    (addon / "stpn.conf").write_text(f"python {sys.executable}\nname stpn\n", encoding="utf-8")
    (folder / "scene.json").write_text(json.dumps(make_shots(folder / "shots") | {"tried": TRIED}), encoding="utf-8")
    # what Blender's own start leaves in the environment must not reach stpn: a PYTHONHOME would end it at once
    environment = clean(
        PYTHONHOME=sys_prefix(blender), LD_LIBRARY_PATH="/nowhere", BLENDER_USER_RESOURCES=str(folder / "user")
    )
    command = [str(blender), str(SCRIPT), str(folder)]
    finished = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=folder, timeout=SECONDS_TO_RUN
    )
    assert (folder / "told.json").is_file(), finished.stdout[-3000:] + finished.stderr[-3000:]
    print(finished.stderr)
    return Told(folder, json.loads((folder / "told.json").read_text(encoding="utf-8")))


def same_color(blender: dict[str, np.ndarray[Any, Any]], file: dict[str, np.ndarray[Any, Any]]) -> None:
    """R, G and B are the same numbers, bit for bit, whatever types the files have."""
    for name in "RGB":
        assert blender[name].dtype == np.float32
        expected = file[name].astype(np.float32)
        assert np.array_equal(blender[name].view(np.uint32), expected.view(np.uint32)), name
