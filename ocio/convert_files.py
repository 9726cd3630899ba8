"""Which files a conversion reads and writes: one each, or the frames of a sequence."""

from __future__ import annotations

import os
from pathlib import Path

from stpn.ocio.convert_request import ConvertRequest, ConvertRequestError
from stpn.ocio.plate_read import FORMATS
from stpn.ocio.sequence import Sequence, SequenceError, parse_frames

Pair = tuple[int | None, Path, Path]


def pairs_of(request: ConvertRequest) -> list[Pair]:
    """Returns frame number, source and target of each file; the number of a single file is None.

    Raises:
        ConvertRequestError: Frames are missing, patterns do not go together, or a target is its own source.
        SequenceError: A pattern or range makes no sense.
    """
    target = Path(request.target)
    if target.suffix.lower() not in FORMATS:
        raise ConvertRequestError(
            f"{target}: expected one of the extensions {', '.join(FORMATS)}, got {target.suffix!r}"
        )
    if os.path.isfile(request.source):
        if request.frames is not None:
            raise ConvertRequestError(f"--frames: expected a numbered sequence like in.####.exr, got {request.source}")
        if _is_pattern(request.target):
            raise ConvertRequestError(f"{target}: expected one file as {request.source} is, got a pattern of frames")
        pairs: list[Pair] = [(None, Path(request.source), target)]
    else:
        pairs = _of_sequence(request)
    for _, source, made in pairs:
        if made.is_dir():
            raise ConvertRequestError(f"{made}: expected a file to write, found a folder")
        if made.exists() and os.path.samefile(source, made):
            raise ConvertRequestError(f"{made}: expected another file than the source; write beside it, then rename")
    return pairs


def _of_sequence(request: ConvertRequest) -> list[Pair]:
    if not _is_pattern(request.source) and not os.path.exists(Path(request.source).parent / "."):
        raise ConvertRequestError(f"{request.source}: no such file")
    try:
        files = Sequence(request.source)
    except SequenceError:
        if _is_pattern(request.source):
            raise
        raise ConvertRequestError(f"{request.source}: no such file") from None
    try:
        made = Sequence(request.target)
    except SequenceError as error:
        raise ConvertRequestError(f"{error}; the source is a sequence") from None
    there = files.frames()
    frames = there if request.frames is None else parse_frames(request.frames)
    if not there:
        closest = files.closest_pattern()
        hint = f"; did you mean {closest}?" if closest else ""
        raise ConvertRequestError(f"{request.source}: expected frames, found none{hint}")
    missing = sorted(set(frames) - set(there))
    if missing:
        named = ", ".join(map(str, missing[:8])) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise ConvertRequestError(
            f"{request.source}: expected frames {named}, not found; there are {there[0]}-{there[-1]} ({len(there)})"
        )
    return [(frame, files.path(frame), made.path(frame)) for frame in frames]


def _is_pattern(text: str) -> bool:
    try:
        Sequence(text)
    except SequenceError as error:
        return "found none" not in str(error)
    return True
