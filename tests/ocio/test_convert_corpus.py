"""Every EXR of the corpus, intact and damaged, through the conversion: with nothing asked, and with a color space.

The code under test runs in child processes with a limit on memory; every file has a clock. A child that dies is noted
and a fresh one goes on. What came out is judged here, by bytes and by the OpenEXR library.
"""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

SECONDS, MEBIBYTES = 5.0, 1024

# Of these only the bytes can be copied; anything else asked of them is refused.
NOT_REWRITABLE = (
    "Rec709_YC", "XYZ_YC", "CrissyField", "Flowers", "ColorCodedLevels", "KernerEnvLatLong", "MirrorPattern",
    "PeriodicPattern", "WavyLinesCube", "WavyLinesLatLong", "LowResLeftView/Balls", "LowResLeftView/Trunks",
)  # fmt: skip

CHILD = """
import json, resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from stpn.ocio.convert import ConvertError, ConvertRequestError, convert
for line in sys.stdin:
    source, target, options = json.loads(line)
    print(json.dumps({"source": source}), flush=True)
    begin = time.monotonic()
    outcome = {"message": None, "status": None, "notes": []}
    try:
        (done,) = convert(source, target, threads=1, **options)
        outcome["status"], outcome["notes"] = done.status, done.notes
    except (ConvertError, ConvertRequestError) as error:
        outcome["message"] = str(error)
    outcome["seconds"] = time.monotonic() - begin
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    outcome["mebibytes"] = int(peak.split()[1]) >> 10
    print(json.dumps(outcome), flush=True)
"""


@dataclass
class Outcome:
    source: Path
    target: Path
    options: dict[str, Any]
    message: str | None = None
    status: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    mebibytes: int = 0
    died: str | None = None

    @property
    def is_damaged(self) -> bool:
        return "Damaged" in self.source.parts or self.source.name == "truncated.exr"


def run_child(outcomes: list[Outcome]) -> int:
    """Lets one child work through files; returns how many it began, the last of which it may have died on."""
    asked = [json.dumps([str(one.source), str(one.target), one.options]) + "\n" for one in outcomes]
    try:
        child = subprocess.run(
            [sys.executable, "-c", CHILD],
            input="".join(asked),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        output, ending = child.stdout, f"exit {child.returncode}: {child.stderr[-500:]}"
    except subprocess.TimeoutExpired as late:
        output, ending = (late.stdout or b"").decode(), "hangs"
    begun, answered = 0, True
    for line in output.splitlines():
        answer = json.loads(line)
        answered = "source" not in answer
        if not answered:
            begun += 1
            continue
        for name, value in answer.items():
            setattr(outcomes[begun - 1], name, value)
    if begun < len(outcomes) or not answered:
        begun = max(begun, 1)
        outcomes[begun - 1].died = ending
    return begun


def worked_through(outcomes: list[Outcome]) -> list[Outcome]:
    waiting = outcomes
    while waiting:
        waiting = waiting[run_child(waiting) :]
    return outcomes


@pytest.fixture(scope="module")
def outcomes(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Outcome]]:
    corpus = shared / "data" / "exr"
    if not corpus.is_dir():
        pytest.skip(f"needs the EXR corpus: there is no {corpus}")
    folder = tmp_path_factory.mktemp("corpus")
    files = sorted(path for path in corpus.rglob("*") if path.is_file() and path.name not in ("LICENSE", "README.md"))
    ways: dict[str, dict[str, Any]] = {
        "nothing": {},
        "color": {"from_space": "ACEScg", "to_space": "ACES2065-1"},
    }
    asked = {
        way: [Outcome(path, folder / f"{way}{number}.exr", options) for number, path in enumerate(files)]
        for way, options in ways.items()
    }
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(asked, pool.map(worked_through, asked.values()), strict=True))


def refused_by_nature(outcome: Outcome) -> bool:
    return any(name in str(outcome.source) for name in NOT_REWRITABLE)


def test_nothing_dies_hangs_takes_long_or_takes_much_memory(outcomes: dict[str, list[Outcome]]) -> None:
    told = []
    for way, found in outcomes.items():
        assert len(found) > 200
        for one in found:
            if one.died or not 0 < one.seconds < SECONDS or not 0 < one.mebibytes < MEBIBYTES:
                told.append((way, one.source, one.died, one.seconds, one.mebibytes))
    assert told == []


def test_an_error_is_one_line_that_names_the_file_and_nothing_is_left(outcomes: dict[str, list[Outcome]]) -> None:
    for found in outcomes.values():
        refused = [one for one in found if one.message is not None]
        assert len(refused) > 150
        wrong = [one.message for one in refused if str(one.source) not in str(one.message) or "\n" in str(one.message)]
        assert wrong == []
        assert not any(one.target.exists() for one in refused)
    assert not list(next(iter(outcomes.values()))[0].target.parent.glob(".*"))


def test_intact_files_are_identical_where_nothing_is_asked(outcomes: dict[str, list[Outcome]]) -> None:
    intact = [one for one in outcomes["nothing"] if not one.is_damaged]
    assert len(intact) > 80
    assert [one.source for one in intact if one.target.read_bytes() != one.source.read_bytes()] == []


def test_a_damaged_file_that_goes_through_is_the_same_and_says_if_it_was_not_decoded(
    outcomes: dict[str, list[Outcome]],
) -> None:
    through = [one for one in outcomes["nothing"] if one.is_damaged and one.message is None]
    assert 0 < len(through) < 30
    for one in through:
        assert one.target.read_bytes() == one.source.read_bytes()
        try:
            OpenEXR.File(str(one.source), separate_channels=True)
        except Exception:  # the module raises whatever its C++ side throws
            assert any("undecoded" in note for note in one.notes), one.source


def test_with_a_color_space_all_that_is_no_color_is_identical(outcomes: dict[str, list[Outcome]]) -> None:
    compared, changed = 0, 0
    for one in outcomes["color"]:
        if one.is_damaged or refused_by_nature(one):
            continue
        if one.message is not None:
            assert "expected channels that are color" in one.message, one.message
            continue
        old = OpenEXR.File(str(one.source), separate_channels=True)
        new = OpenEXR.File(str(one.target), separate_channels=True)
        assert len(old.parts) == len(new.parts)
        for part in range(len(old.parts)):
            before, after = old.channels(part), new.channels(part)
            assert list(before) == list(after)
            for name, channel in before.items():
                same = channel.pixels.tobytes() == after[name].pixels.tobytes()
                leaf = name.rpartition(".")[2]
                if leaf in ("R", "G", "B", "Y"):
                    changed += not same
                else:
                    compared += 1
                    assert same, f"{one.source}, part {part}, channel {name}"
                assert channel.pixels.dtype == after[name].pixels.dtype
                assert np.shape(channel.pixels) == np.shape(after[name].pixels)
    assert compared > 50
    assert changed > 100


def test_what_can_only_be_copied_is_refused_where_color_is_asked(outcomes: dict[str, list[Outcome]]) -> None:
    by_nature = [one for one in outcomes["color"] if refused_by_nature(one) and not one.is_damaged]
    assert len(by_nature) == 12
    assert [one.source for one in by_nature if one.message is None or "cannot be rewritten" not in one.message] == []
