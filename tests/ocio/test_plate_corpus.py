"""Every EXR of the corpus, intact and damaged: in and out with one channel replaced, or refused in one line.

The code under test runs in a child process, with a limit on memory and a clock a file; a child that dies is noted and a
fresh one goes on. What it wrote is judged here: by the OpenEXR library, by OpenImageIO, and by a reader of raw headers.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import OpenImageIO as oiio
import pytest

RawReader = Callable[[Path], list[dict[str, tuple[str, bytes]]]]
SECONDS, MEBIBYTES = 2.0, 512

# Intact files that cannot be rewritten whole, and the words that say why.
REFUSED = {
    "Chromaticities/Rec709_YC.exr": "is subsampled 2 x 2",
    "Chromaticities/XYZ_YC.exr": "is subsampled 2 x 2",
    "LuminanceChroma/CrissyField.exr": "is subsampled 2 x 2",
    "LuminanceChroma/Flowers.exr": "is subsampled 2 x 2",
    "MultiResolution/ColorCodedLevels.exr": "is mip-mapped",
    "MultiResolution/KernerEnvLatLong.exr": "is mip-mapped",
    "MultiResolution/MirrorPattern.exr": "is mip-mapped",
    "MultiResolution/PeriodicPattern.exr": "is mip-mapped",
    "MultiResolution/WavyLinesCube.exr": "is mip-mapped",
    "MultiResolution/WavyLinesLatLong.exr": "is mip-mapped",
    "LowResLeftView/Balls.exr": "holds deep data",
    "LowResLeftView/Trunks.exr": "holds deep data",
}

CHILD = """
import json, resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from stpn.ocio.plate import PlateError, inspect_plate, read_plate, write_plate
import OpenEXR
for line in sys.stdin:
    source, result = json.loads(line)
    print(json.dumps({"source": source}), flush=True)
    begin = time.monotonic()
    outcome = {"message": None, "inspected": None, "notes": []}
    try:
        outcome["inspected"] = inspect_plate(source).parts[0].compression
        plate = read_plate(source)
        name = plate.info.parts[0].channel_names[0]
        pixels = plate.pixels(name)
        outcome["notes"] = write_plate(result, plate, replace={name: pixels[::-1, ::-1]})
    except PlateError as error:
        outcome["message"] = str(error)
    outcome["seconds"] = time.monotonic() - begin
    # ru_maxrss would start at that of the process which started this one
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    outcome["mebibytes"] = int(peak.split()[1]) >> 10
    print(json.dumps(outcome), flush=True)
"""


@dataclass
class Outcome:
    source: Path
    result: Path
    message: str | None = None
    inspected: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    mebibytes: int = 0
    died: str | None = None


def is_damaged(path: Path) -> bool:
    return "Damaged" in path.parts or path.name == "truncated.exr"


def run_child(outcomes: list[Outcome]) -> int:
    """Let one child work through files; return how many it began, the last of which it may have died on."""
    requests = "".join(json.dumps([str(outcome.source), str(outcome.result)]) + "\n" for outcome in outcomes)
    try:
        child = subprocess.run(
            [sys.executable, "-c", CHILD], input=requests, capture_output=True, text=True, timeout=120, check=False
        )
        output, ending = child.stdout, f"exit {child.returncode}: {child.stderr[-500:]}"
    except subprocess.TimeoutExpired as late:
        output, ending = (late.stdout or b"").decode(), "hangs"
    begun = 0
    answered = True
    for line in output.splitlines():
        answer = json.loads(line)
        answered = "source" not in answer
        if not answered:
            begun += 1
            assert answer["source"] == str(outcomes[begun - 1].source)
            continue
        for name, value in answer.items():
            setattr(outcomes[begun - 1], name, value)
    if begun < len(outcomes) or not answered:
        begun = max(begun, 1)
        outcomes[begun - 1].died = ending
    return begun


@pytest.fixture(scope="module")
def outcomes(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    corpus = shared / "data" / "exr"
    if not corpus.is_dir():
        pytest.skip(f"needs the EXR corpus: there is no {corpus}")
    folder = tmp_path_factory.mktemp("corpus")
    files = sorted(path for path in corpus.rglob("*") if path.is_file() and path.name not in ("LICENSE", "README.md"))
    found = [Outcome(path, folder / f"{number}.exr") for number, path in enumerate(files)]
    waiting = found
    while waiting:
        waiting = waiting[run_child(waiting) :]
    return found


def failures(outcomes: list[Outcome], judge: Callable[[Outcome], str | None]) -> list[str]:
    told = [(outcome.source, judge(outcome)) for outcome in outcomes]
    return [f"{source}: {text}" for source, text in told if text]


def test_nothing_dies_hangs_takes_long_or_takes_much_memory(outcomes: list[Outcome]) -> None:
    assert len(outcomes) > 200

    def judge(outcome: Outcome) -> str | None:
        if outcome.died:
            return outcome.died
        if not 0 < outcome.seconds < SECONDS:
            return f"took {outcome.seconds:.2f} s"
        return f"took {outcome.mebibytes} MiB" if not 0 < outcome.mebibytes < MEBIBYTES else None

    assert failures(outcomes, judge) == []


def test_messages_are_one_line_that_begins_with_the_path(outcomes: list[Outcome]) -> None:
    refused = [outcome for outcome in outcomes if outcome.message is not None]
    assert len(refused) > 150
    assert all(str(outcome.message).startswith(f"{outcome.source}: ") for outcome in refused)
    assert not any("\n" in str(outcome.message) or len(str(outcome.message)) > 500 for outcome in refused)
    assert not any(outcome.result.exists() for outcome in refused)


def test_intact_files_go_through_or_are_refused_up_front_with_the_reason(outcomes: list[Outcome]) -> None:
    intact = [outcome for outcome in outcomes if not is_damaged(outcome.source)]
    assert len(intact) > 80

    def judge(outcome: Outcome) -> str | None:
        reason = REFUSED.get("/".join(outcome.source.parts[-2:]))
        if reason is None:
            return outcome.message
        if outcome.inspected is not None:
            return "was not refused by inspect_plate"
        return (
            None if outcome.message and reason in outcome.message else f"expected {reason!r}, got {outcome.message!r}"
        )

    assert failures(intact, judge) == []


def test_a_damaged_file_that_goes_through_gives_the_pixels_openexr_gives(
    outcomes: list[Outcome], exr_attributes: RawReader
) -> None:
    damaged = [outcome for outcome in outcomes if is_damaged(outcome.source)]
    assert len(damaged) > 150
    through = [outcome for outcome in damaged if outcome.message is None and outcome.died is None]
    assert failures(through, lambda outcome: different_for_openexr(outcome, exr_attributes)) == []


def test_all_but_one_channel_is_the_same_for_openexr(outcomes: list[Outcome], exr_attributes: RawReader) -> None:
    through = [outcome for outcome in outcomes if outcome.result.exists() and not is_damaged(outcome.source)]
    assert len(through) > 70
    assert failures(through, lambda outcome: different_for_openexr(outcome, exr_attributes)) == []


def different_for_openexr(outcome: Outcome, raw: RawReader) -> str | None:
    """Compare attributes byte for byte and pixels bit for bit, all parts."""
    before, after = raw(outcome.source), raw(outcome.result)
    noted = any("written as ZIP" in note for note in outcome.notes)
    for part, (old, new) in enumerate(zip(before, after, strict=True)):
        allowed = {"compression", "chunkCount"} if noted and part == 0 else set()
        if list(old) != list(new) or {name for name in old if old[name] != new[name]} - allowed:
            return f"part {part}: attributes differ"
        if part == 0 and noted != (old["compression"] != new["compression"]):
            return f"notes {outcome.notes} do not tell of the compression"
    old_file = OpenEXR.File(str(outcome.source), separate_channels=True)
    new_file = OpenEXR.File(str(outcome.result), separate_channels=True)
    for part in range(len(before)):
        old_channels, new_channels = old_file.channels(part), new_file.channels(part)
        if list(old_channels) != list(new_channels):
            return f"part {part}: other channels"
        for index, (name, old_channel) in enumerate(old_channels.items()):
            wanted, found = old_channel.pixels, new_channels[name].pixels
            if part == 0 and index == 0:
                wanted = wanted[::-1, ::-1]
            if found.dtype != wanted.dtype or found.shape != wanted.shape or found.tobytes() != wanted.tobytes():
                return f"part {part}, channel {name}: other pixels"
    return None


def test_all_but_one_channel_is_the_same_for_openimageio(outcomes: list[Outcome]) -> None:
    through = [outcome for outcome in outcomes if outcome.result.exists() and not is_damaged(outcome.source)]
    compared = [0]

    def judge(outcome: Outcome) -> str | None:
        old_parts, new_parts = channels_for_oiio(outcome.source), channels_for_oiio(outcome.result)
        first = sorted(old_parts[0])[0]
        old_parts[0][first] = old_parts[0][first][::-1, ::-1]
        for part, (old, new) in enumerate(zip(old_parts, new_parts, strict=True)):
            for name in old.keys() | new.keys():
                if name not in old or name not in new or old[name].tobytes() != new[name].tobytes():
                    return f"part {part}, channel {name}: other pixels"
                compared[0] += 1
        return None

    assert failures(through, judge) == []
    assert compared[0] > 200


def channels_for_oiio(path: Path) -> list[dict[str, np.ndarray[Any, Any]]]:
    """All channels of all parts as OpenImageIO gives them; parts with uint32 channels, which it mangles, stay empty."""
    picture = oiio.ImageInput.open(str(path))
    parts: list[dict[str, np.ndarray[Any, Any]]] = []
    while picture.seek_subimage(len(parts), 0):
        spec = picture.spec()
        channels: dict[str, np.ndarray[Any, Any]] = {"": np.zeros((1, 1))}
        if oiio.TypeDesc("uint32") not in spec.channelformats:
            pixels = picture.read_image(spec.format).reshape(spec.height, spec.width, spec.nchannels)
            channels = {name: pixels[:, :, index] for index, name in enumerate(spec.channelnames)}
        parts.append(channels)
    picture.close()
    return parts
