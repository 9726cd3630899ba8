"""Frames on disk: which there are, whether they can be read, and whether they are alike."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stpn.ocio.plate import PlateError, PlateInfo, inspect_plate
from stpn.ocio.sequence import Sequence as Files
from stpn.ocio.sequence import SequenceError
from stpn.plugin.footage import color_part
from stpn.plugin.request import RequestError, first_of, listed


def frames_there(files: Files, what: str) -> list[int]:
    """The frames that there are files for, ascending.

    Raises:
        RequestError: there are none.
    """
    try:
        found = files.frames()
    except SequenceError as error:
        raise RequestError(str(error)) from error
    if not found:
        like = files.closest_pattern()
        hint = f"did you mean {like}?" if like else "give the pattern of files that exist"
        raise RequestError(f"{files.pattern}: expected {what} frames, found none; {hint}")
    return found


def refuse_missing(wanted: Iterable[int], found: Iterable[int], files: Files, what: str, why: str = "") -> None:
    """Raises RequestError where a wanted frame is not among those found."""
    there = set(found)
    missing = [frame for frame in wanted if frame not in there]
    if missing:
        raise RequestError(
            f"{files.pattern}: expected {what} frames {listed(missing)}, not found; there are {listed(sorted(there))}"
            f"{why}"
        )


def inspected(paths: Sequence[Path], threads: int) -> list[PlateInfo]:
    """What each file holds.

    Raises:
        RequestError: those that cannot be read, the first few by name.
    """
    problems, infos = [], []

    def inspect(path: Path) -> PlateInfo | str:
        try:
            return inspect_plate(path)
        except PlateError as error:
            return str(error)

    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(inspect, paths):
            if isinstance(found, str):
                problems.append(found)
            else:
                infos.append(found)
    if problems:
        raise RequestError(*first_of(problems))
    return infos


def differing(
    plates: Sequence[PlateInfo], keys: Sequence[PlateInfo], key_parts: Collection[int] | None = None
) -> list[str]:
    """Sizes and windows that are not those of the first plate frame.

    Args:
        plates: what the plate frames hold; of each the part with the color counts.
        keys: what the keys hold.
        key_parts: the parts of the keys that count; None: those with the color.
    """
    first = plates[0]
    expected = color_part(first)[1]
    problems = []
    parts = [(info, color_part(info)[1], "") for info in plates[1:]]
    for info in keys:
        found = key_parts if key_parts is not None else (color_part(info)[0],)
        parts += [(info, info.parts[index], f" in part {index}" * (len(found) > 1)) for index in sorted(found)]
    for info, part, where in parts:
        if (part.width, part.height) != (expected.width, expected.height):
            problems.append(
                f"{info.path}: expected {expected.width} x {expected.height} pixels as {first.path.name} has, "
                f"got {part.width} x {part.height}{where}"
            )
        elif info.format == first.format == "exr":
            for name, window, wanted in (
                ("data window", part.data_window, expected.data_window),
                ("display window", part.display_window, expected.display_window),
            ):
                if window != wanted:
                    problems.append(
                        f"{info.path}: expected {name} {wanted} as {first.path.name} has, got {window}{where}"
                    )
    return problems
