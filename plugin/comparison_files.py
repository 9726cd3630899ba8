"""The files of a comparison: which frames are there, which are shown and measured, whether they can be read and go
together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stpn.ocio.plate import PlateError, PlateInfo, inspect_plate
from stpn.ocio.sequence import Sequence, SequenceError
from stpn.plugin.frame_choice import chosen_frames
from stpn.plugin.frame_source import Files as NumberedFiles
from stpn.plugin.frames_on_disk import frames_there
from stpn.plugin.keys import frames_of
from stpn.plugin.request import RequestError

_NAMED = 8  # frames or problems that an error names before it says "and N more"

Files = dict[str, NumberedFiles]
"""Sequences by role: plate, result, keys, reference, confidence."""


def sequence(pattern: str) -> NumberedFiles:
    """The files of a pattern.

    Raises:
        RequestError: it is none.
    """
    try:
        return NumberedFiles(pattern)
    except SequenceError as error:
        raise RequestError(str(error)) from error


def on_disk(files: Sequence, role: str) -> list[int]:
    """The frames that there are files for, ascending.

    Raises:
        RequestError: there are none.
    """
    return frames_there(files, "key" if role == "keys" else role)


def shown_frames(asked: str | None, files: Files, there: dict[str, list[int]], most: int) -> tuple[int, ...]:
    """The frames of the sheet: as asked, or chosen among those that plate and result share.

    Args:
        asked: a frame range; None: some are chosen.
        files, there: the sequences and their frames, by role.
        most: how many frames a sheet holds.

    Raises:
        RequestError: they are not there, or too many.
    """
    plate, result = there["plate"], there["result"]
    common = sorted(set(plate) & set(result))
    if not common:
        raise RequestError(
            f"{files['plate'].pattern} and {files['result'].pattern}: expected frames in common, found none: one has "
            f"{_extent(plate)}, the other {_extent(result)}"
        )
    if asked is None:
        shared = sorted(set(common) & set(there["reference"])) if "reference" in there else common
        return chosen_frames(shared or common, there.get("keys", []))
    rows = frames_of(asked, "--frames")
    for role in ("plate", "result"):
        missing = [frame for frame in rows if frame not in set(there[role])]
        if missing:
            raise RequestError(
                f"{files[role].pattern}: expected frames {_listed(map(str, missing), ', ')}, not found; there are "
                f"{_extent(there[role])}"
            )
    if len(rows) > most:
        raise RequestError(
            f"--frames: expected at most {most} frames, one a row, got {len(rows)}; give a step: "
            f"{rows[0]}-{rows[-1]}x{-(-(rows[-1] - rows[0] + 1) // most)}"
        )
    return rows


def measured_frames(files: Files, there: dict[str, list[int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Frames that result and reference share, and those of the reference that the result lacks.

    Raises:
        RequestError: they share none.
    """
    if "reference" not in there:
        return (), ()
    result, reference = there["result"], there["reference"]
    shared = tuple(sorted(set(result) & set(reference)))
    if not shared:
        raise RequestError(
            f"{files['reference'].pattern}: expected reference frames of the result's {_extent(result)}, found "
            f"{_extent(reference)}"
        )
    return shared, tuple(sorted(set(reference) - set(result)))


def output_path(output: str, files: Files, there: dict[str, list[int]]) -> Path:
    """Where the sheet goes.

    Raises:
        RequestError: it cannot go there.
    """
    path = Path(output)
    if path.suffix.lower() != ".png":
        raise RequestError(f"--output {output}: expected a name that ends in .png, got {path.suffix or 'no extension'}")
    if path.is_dir():
        raise RequestError(f"--output {output}: expected a file, found a folder of that name; choose another name")
    real = os.path.realpath(path)
    for role, found in files.items():
        if any(os.path.realpath(found.path(frame)) == real for frame in there[role]):
            raise RequestError(f"--output {output}: expected a place of its own, got a file of the {role}")
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise RequestError(f"--output {output}: expected a folder that can be written, {folder} cannot")
    return path


def inspected(
    files: Files, frames: dict[str, list[int]], threads: int, holds: Callable[[str, PlateInfo], object]
) -> dict[str, list[PlateInfo]]:
    """What every picture that will be read holds, by role.

    Args:
        files, frames: the sequences and the frames of each, by role.
        threads: how many at most.
        holds: called with role and picture; raises PlateError where that is not what is expected.

    Raises:
        RequestError: some cannot be read, the first few by name.
    """

    def inspect(role: str, path: Path) -> PlateInfo | str:
        try:
            info = inspect_plate(path)
            holds(role, info)
        except PlateError as error:
            return str(error)
        return info

    asked = [(role, found.path(frame)) for role, found in files.items() for frame in frames[role]]
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(inspect, *zip(*asked, strict=True)))
    problems = [problem for problem in found if isinstance(problem, str)]
    if problems:
        raise RequestError(_listed(problems, "; "))
    infos: dict[str, list[PlateInfo]] = {role: [] for role in files}
    for (role, _), info in zip(asked, found, strict=True):
        assert isinstance(info, PlateInfo)
        infos[role].append(info)
    return infos


def refuse_differing(infos: dict[str, list[PlateInfo]]) -> None:
    """Raises RequestError where sizes, or windows of EXR files, are not those of the first plate frame."""
    first = infos["plate"][0]
    problems = []
    for info in (info for of_role in infos.values() for info in of_role):
        if (info.width, info.height) != (first.width, first.height):
            problems.append(
                f"{info.path}: expected {first.width} x {first.height} pixels as {first.path.name} has, got "
                f"{info.width} x {info.height}"
            )
        elif info.format == first.format == "exr" and info.parts[0].data_window != first.parts[0].data_window:
            problems.append(
                f"{info.path}: expected data window {first.parts[0].data_window} as {first.path.name} has, got "
                f"{info.parts[0].data_window}"
            )
    if problems:
        raise RequestError(*problems[:_NAMED], *([f"and {len(problems) - _NAMED} more"] if problems[_NAMED:] else []))


def _listed(items: Iterable[str], separator: str) -> str:
    texts = list(items)
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return separator.join(texts[:_NAMED]) + more


def _extent(frames: list[int]) -> str:
    """Where frames begin and end, and whether there are holes: 1001-1041 (38 frames)."""
    whole = len(frames) == frames[-1] - frames[0] + 1
    return f"{frames[0]}-{frames[-1]}" + ("" if whole else f" ({len(frames)} frames)")
