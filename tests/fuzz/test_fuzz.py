"""The fuzz targets: over the checked-in inputs, then for half a minute each from there on, always by the same dice.

Each runs in a process of its own, since what is read goes through a library in C++, whose end would be the tests' too.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stpn.ocio.plate import inspect_plate

HERE = Path(__file__).resolve().parent
CORPUS = HERE / "corpus"
SECONDS, SLOW_SECONDS = 30, 300
LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=16384")
TARGETS = ("exr", "worker")

needs_atheris = pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="needs atheris, which requirements/test.txt has for Python 3.11 on x86-64 Linux",
)


def fuzzed(target: str, folder: Path, *arguments: object, seconds: float) -> subprocess.CompletedProcess[str]:
    """Runs a target, which leaves what it works with in a folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STPN_")}
    environment["TMPDIR"] = str(folder)
    return subprocess.run(
        [sys.executable, str(HERE / f"fuzz_{target}.py"), *map(str, arguments), *LIMITS],
        capture_output=True, text=True, errors="replace", check=False, timeout=seconds, env=environment,
    )  # fmt: skip


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """What a target said at its end, without what the OpenEXR library says of damage."""
    # Python's own error goes to standard output
    lines = [line for line in (done.stderr + done.stdout).splitlines() if "EXR_ERR" not in line]
    return f"code {done.returncode}\n" + "\n".join(lines[-40:])


def test_the_checked_in_inputs_are_small_and_mean_something() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 32 << 10
    for path in (CORPUS / "exr").glob("*.exr"):
        if not path.name.startswith("found-"):
            assert inspect_plate(path).width > 0


@needs_atheris
@pytest.mark.parametrize("target", TARGETS)
def test_every_checked_in_input_keeps_its_promises(target: str, tmp_path: Path) -> None:
    files = sorted((CORPUS / target).iterdir())
    assert len(files) > 5
    done = fuzzed(target, tmp_path, *files, f"-artifact_prefix={tmp_path}/", seconds=120)
    assert done.returncode == 0, last_words(done)
    assert done.stderr.count("Executed ") == len(files)


@needs_atheris
@pytest.mark.fuzz
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found(target: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    seconds = SLOW_SECONDS if pytestconfig.getoption("--run-slow") else SECONDS
    new, found = tmp_path / "new", tmp_path / "found"
    new.mkdir()
    found.mkdir()
    done = fuzzed(
        target, tmp_path, new, CORPUS / target, "-seed=1", f"-max_total_time={seconds}", f"-artifact_prefix={found}/",
        seconds=seconds + 120,
    )  # fmt: skip
    kept = [str(path) for path in found.iterdir()]
    assert done.returncode == 0, f"the input is in {kept}\n{last_words(done)}"
    assert not kept
    assert any(new.iterdir()), "no input led anywhere new: the target does not see what it tests"


BREAKS = {
    "ZeroDivisionError": "fuzz.read_plate = lambda path: 1 / 0",
    "Broken: part 0, channel A: other pixels": """
real = fuzz.write_plate
def flipped(path, plate, *, replace):
    return real(path, plate, replace={name: pixels[::-1, ::-1] for name, pixels in plate.parts[0].items()})
fuzz.write_plate = flipped
""",
    "deadly signal": """
import ctypes
fuzz.read_plate = lambda path: ctypes.string_at(0)
""",
}


@needs_atheris
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_promise_is_seen(name: str, tmp_path: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(HERE)!r}); import fuzz_exr as fuzz\n{BREAKS[name]}\nfuzz.main()"
    (tmp_path / "fuzz.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "fuzz.py", CORPUS / "exr/mixed.exr", f"-artifact_prefix={tmp_path}/"],
        capture_output=True, text=True, errors="replace", check=False, timeout=120, cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode != 0
    assert name in done.stderr + done.stdout, last_words(done)
