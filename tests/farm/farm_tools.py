"""For the tests of farms: shots, `stpn farm` as a person runs it, and environments with the farms' own tools."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from stpn.plugin.cli import main

REPOSITORY = Path(__file__).resolve().parents[2]
STPN = Path(sys.executable).with_name("stpn")
SECONDS_TO_INSTALL = 600


def farm_python(name: str) -> Path:
    """The Python of an environment made from requirements/NAME.txt on first use, in .cache/NAME. Skips with the reason
    where it cannot be made."""
    lock = REPOSITORY / "requirements" / f"{name}.txt"
    folder = REPOSITORY / ".cache" / name
    folder.parent.mkdir(exist_ok=True)
    python, stamp = folder / "bin" / "python", folder / "made-from"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    with FileLock(f"{folder}.lock", timeout=SECONDS_TO_INSTALL):
        if stamp.is_file() and stamp.read_text() == wanted and python.exists():
            return python
        shutil.rmtree(folder, ignore_errors=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        for command in ([sys.executable, "-m", "venv", str(folder)], [*pip, "-r", str(lock)]):
            try:
                made = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_TO_INSTALL)
            except subprocess.TimeoutExpired:
                pytest.skip(f"the farm's tools could not be installed within {SECONDS_TO_INSTALL} s")
            if made.returncode:
                last = (made.stdout + made.stderr).strip().splitlines()[-1:]
                pytest.skip(f"the farm's tools cannot be installed ({lock.name}): {' '.join(last)}")
        stamp.write_text(wanted)
    return python


def clean(**more: str) -> dict[str, str]:
    """This environment without what points at a Python or a config."""
    left_out = ("PYTHON", "OCIO")
    return {name: value for name, value in os.environ.items() if not name.startswith(left_out)} | more


def studio_of(folder: Path) -> Any:
    """The small shot of tests/plugin in a folder, 48 x 64 pixels."""
    path = REPOSITORY / "tests" / "plugin" / "conftest.py"
    spec = importlib.util.spec_from_file_location("stpn_test_studio", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.get("stpn_test_studio") or importlib.util.module_from_spec(spec)
    if "stpn_test_studio" not in sys.modules:
        sys.modules["stpn_test_studio"] = module
        spec.loader.exec_module(module)
    folder.mkdir(parents=True, exist_ok=True)
    studio = module.Studio(folder, None)
    studio.shape = (48, 64)
    return studio


def shot_files(studio: Any, output: str = "out.####.exr") -> list[str]:
    """The options that name the files of a shot."""
    named = (("plate", "plate.####.exr"), ("keys", "key.####.exr"), ("output", output))
    return [f"--{option}={studio.folder}/{pattern}" for option, pattern in named]


def farmed(*arguments: str) -> int:
    """Runs `stpn farm` in this process; gives the exit code."""
    return main(["farm", *arguments])
