"""What is asked of `stpn keys`, checked whole before any work starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stpn.ocio.config import ColorError, Config, load_config
from stpn.ocio.plate import PlateError
from stpn.ocio.sequence import Sequence, SequenceError
from stpn.ocio.spaces import WorkingCurve, working_curve
from stpn.plugin.cut_search import given_cuts
from stpn.plugin.footage import Footage, open_footage, unlike_the_first
from stpn.plugin.frame_source import Files
from stpn.plugin.frames_on_disk import differing, frames_there, inspected, refuse_missing
from stpn.plugin.keys import frames_of
from stpn.plugin.places import existing_folder, writable
from stpn.plugin.request import RequestError, first_of, listed

DEFAULT_ADDED = 3
"""How many frames are proposed where nobody says how many."""


@dataclass(frozen=True)
class KeysRequest:
    """What is asked for; see `stpn keys --help` for each.

    Attributes:
        plate, keys: patterns of numbered files; `keys` None: nothing is painted yet, or one of the two below.
        key_frames: frame range of keys that are, or will be, painted.
        interval: the same, every so many frames from the first on.
        frames: the frames to serve, without holes; None: the whole plate.
        add: how many frames to propose; None: `DEFAULT_ADDED`, or as many as `target` takes.
        target: the mean confidence to reach.
        cuts: auto, none, or a range.
        colorspace: a space of the config, or auto.
        ocio: a config; None: $OCIO, else the built-in one.
        picture: where to draw the timeline, a PNG; None: nowhere.
        threads: 0: as many as there are processors.
    """

    plate: str
    keys: str | None = None
    key_frames: str | None = None
    interval: int | None = None
    frames: str | None = None
    add: int | None = None
    target: float | None = None
    cuts: str = "auto"
    colorspace: str = "auto"
    ocio: str | None = None
    picture: str | None = None
    threads: int = 0


@dataclass(frozen=True)
class Task:
    """A request that was found right.

    Attributes:
        request: as asked.
        plate: the plate.
        frames: the frames to serve.
        keys: those that are painted already, ascending.
        cuts: first frames of new shots; None: to be found.
        config: where colors are looked up.
        working: the curve of the lightness that motion is told from.
        threads: how many at most.
        decisions: what was chosen and why, one line each, for people.
    """

    request: KeysRequest
    plate: Footage
    frames: range
    keys: tuple[int, ...]
    cuts: tuple[int, ...] | None
    config: Config
    working: WorkingCurve
    threads: int
    decisions: tuple[str, ...]


def check(request: KeysRequest) -> Task:
    """Makes every check that can be made before work starts.

    Raises:
        RequestError: what is wrong.
    """
    _refuse_options(request)
    try:
        files = Files(request.plate)
        key_files = Sequence(request.keys) if request.keys is not None else None
    except SequenceError as error:
        raise RequestError(str(error)) from error
    there = frames_there(files, "plate")
    frames = _frames(request, there)
    refuse_missing(frames, there, files, "plate", "; motion needs every frame between the first and the last")
    keys, outside = _keys(request, frames, key_files)
    _refuse_place(request.picture, {"--plate": (files, there), "--keys": (key_files, list(keys))})
    threads = request.threads if request.threads > 0 else os.cpu_count() or 1
    infos = inspected([files.path(frame) for frame in frames], threads)
    try:
        config = load_config(request.ocio)
        plate, why = open_footage(config, files, infos[0], request.colorspace, "--colorspace")
        problems = unlike_the_first(infos, plate, request.colorspace, "--colorspace") + differing(infos, [])
        working = working_curve(config, "linear")
    except (ColorError, PlateError) as error:
        raise RequestError(str(error)) from error
    if problems:
        raise RequestError(*first_of(problems))
    said = [f"config: {config.origin}", f"plate: {why}", f"keys: {listed(keys) or 'none yet'}"]
    if outside:
        said.append(f"keys outside {frames[0]}-{frames[-1]} count for nothing: {listed(outside)}")
    return Task(request, plate, frames, keys, given_cuts(request.cuts), config, working, threads, tuple(said))


def _refuse_options(request: KeysRequest) -> None:
    problems = []
    ways = {"--keys": request.keys, "--key-frames": request.key_frames, "--interval": request.interval}
    given = [option for option, value in ways.items() if value is not None]
    if len(given) > 1:
        problems.append(f"{given[0]}: expected it alone, got {' and '.join(given[1:])} too; leave one out")
    if request.interval is not None and request.interval < 1:
        problems.append(f"--interval: expected 1 or more frames, got {request.interval}")
    if request.add is not None and request.add < 1:
        problems.append(f"--add: expected 1 or more frames, got {request.add}")
    if request.target is not None and not 0 < request.target <= 1:
        problems.append(f"--target: expected a confidence above 0 and up to 1, got {request.target:g}")
    if request.threads < 0:
        problems.append(f"--threads: expected 1 or more, or 0 for all processors, got {request.threads}")
    if request.picture is not None:
        path = Path(request.picture)
        if path.suffix.lower() != ".png" or path.is_dir():
            problems.append(f"--picture {path}: expected a file name that ends in .png")
        elif not writable(existing_folder(path)):
            problems.append(f"--picture {path}: expected a folder that can be written, {existing_folder(path)} cannot")
    if problems:
        raise RequestError(*problems)


def _refuse_place(picture: str | None, inputs: dict[str, tuple[Sequence | None, list[int]]]) -> None:
    """The picture must not take the place of a file that is read."""
    for option, (files, frames) in inputs.items():
        if picture is None or files is None:
            continue
        if os.path.realpath(picture) in {os.path.realpath(files.path(frame)) for frame in frames}:
            raise RequestError(f"--picture {picture}: expected a place of its own, got that of {option}")


def _frames(request: KeysRequest, there: list[int]) -> range:
    if request.frames is None:
        return range(there[0], there[-1] + 1)
    asked = frames_of(request.frames, "--frames")
    if len(asked) != asked[-1] - asked[0] + 1:
        raise RequestError(
            f"--frames {request.frames}: expected frames without holes, because motion goes through every one; "
            f"type {asked[0]}-{asked[-1]}"
        )
    return range(asked[0], asked[-1] + 1)


def _keys(request: KeysRequest, frames: range, files: Sequence | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Keys among the frames, and keys outside."""
    if request.interval is not None:
        asked = tuple(frames[:: request.interval])
    elif request.key_frames is not None:
        asked = frames_of(request.key_frames, "--key-frames")
    else:
        asked = tuple(frames_there(files, "key")) if files is not None else ()
    return tuple(key for key in asked if key in frames), tuple(key for key in asked if key not in frames)
