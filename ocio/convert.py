"""The headless EXR conversion: files of a sequence to another color space, format, compression, type or size.

`convert` does it all. `prepare` checks a request and `run` carries it out, for whoever shows progress between; `stpn
convert` is a thin layer over both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from stpn.ocio.atomic import remove_leftovers, what_to_do
from stpn.ocio.config import ColorError
from stpn.ocio.convert_files import pairs_of
from stpn.ocio.convert_frame import convert_file, made_of, same_bytes
from stpn.ocio.convert_pipeline import ConvertCancelled, in_order, library_threads, processors, under_way
from stpn.ocio.convert_plan import Planner
from stpn.ocio.convert_request import ConvertRequest, ConvertRequestError, check_request, one_line
from stpn.ocio.convert_steps import FilePlan
from stpn.ocio.digest import content_digest
from stpn.ocio.exr_header import HeaderError
from stpn.ocio.plate_info import PlateError
from stpn.ocio.sequence import SequenceError
from stpn.ocio.wholeness import is_whole_and_of

__all__ = [
    "Conversion",
    "ConvertCancelled",
    "ConvertError",
    "ConvertRequest",
    "ConvertRequestError",
    "ConvertedFile",
    "convert",
    "prepare",
    "run",
]

_NAMED = 8  # problems that an error lists before it says "and N more"


class ConvertError(Exception):
    """A file that could not be converted, in one line; those before it are there and whole."""


@dataclass(frozen=True)
class Conversion:
    """A request that was found right.

    Attributes:
        request: As asked.
        files: What is done to each file, in order.
        decisions: What was chosen and why, one line each, for people.
        threads: How many files are worked on at once, less the one that waits.
        ahead: How many files are in memory at most.
    """

    request: ConvertRequest
    files: tuple[FilePlan, ...]
    decisions: tuple[str, ...]
    threads: int
    ahead: int


@dataclass(frozen=True)
class ConvertedFile:
    """What became of one file.

    Attributes:
        frame: Its number; None for a single file.
        source, target: Where from and where to.
        status: "converted", "copied" (byte for byte), "skipped" (was there already), or "failed".
        seconds: Time of its own work.
        notes: What was stored differently than it came, and why; what --check found; of a failed one the error.
    """

    frame: int | None
    source: Path
    target: Path
    status: str
    seconds: float
    notes: tuple[str, ...] = ()


def convert(
    source: str | Path,
    target: str | Path,
    *,
    from_space: str | None = None,
    to_space: str | None = None,
    look: str | None = None,
    display: str | None = None,
    view: str | None = None,
    parts: str | None = None,
    channels: str | None = None,
    compression: str = "keep",
    pixel_type: str = "keep",
    resize: str | None = None,
    crop: str | None = None,
    frames: str | None = None,
    ocio: str | None = None,
    unpremultiply: bool = True,
    skip_existing: bool = False,
    check: bool = False,
    keep_going: bool = False,
    threads: int = 0,
    memory: float | None = None,
    device: str = "cpu",
    cancelled: threading.Event | None = None,
) -> list[ConvertedFile]:
    """Converts a picture or a numbered sequence of pictures.

    Only color is transformed: red, green and blue of each layer that is chosen, as `stpn.ocio.convert_channels` tells
    them. All other channels come out bit for bit, and all parts, attributes and windows are kept, except what is no
    longer true of the color. Where nothing is asked of a file it is copied byte for byte.

    Args:
        source: A file, or a pattern of numbered files such as "in.####.exr": EXR, DPX, TIFF, PNG, HDR, JPEG.
        target: A file or a pattern likewise; its extension decides the format. Frame numbers stay.
        from_space: Color space of the source: name, role or alias of the config; None: told from the file.
        to_space: Color space wanted; None: none, color stays as it is.
        look: Looks of the config, "grade" or "+grade, -other".
        display: A display of the config, with `view` in place of `to_space`.
        view: One of its views.
        parts: Names or numbers of the parts to change, with wildcards, comma separated; None: all.
        channels: Names of channels (or part/channel) that are taken for color, with wildcards, comma separated; None:
            told from names and types.
        compression: "keep" or an EXR compression by name, of dwaa and dwab with a level: "dwaa:45".
        pixel_type: "keep", "half" or "float" for color and its alpha; 8, 10, 12 or 16 (as text) for bits of integers.
        resize: Size of the display window, "1920x1080", or a share of it, "50%".
        crop: "display": the data window becomes the display window; "window": the other way round.
        frames: A frame range, "1001-1100x2"; None: all frames that are there.
        ocio: A config file; None: $OCIO, else the built-in one.
        unpremultiply: Whether color is divided by its layer's alpha around transforms that are no matrix.
        skip_existing: Leave targets that are whole and are what this request would make of this source.
        check: Decode what was written and compare, before it is put in place.
        keep_going: Go on with later files where one fails; its status is then "failed".
        threads: Files at once; 0: as many as there are processors.
        memory: GiB that files under way may take together, about; None: half of what is free.
        device: "cpu", or "cuda" for transforms of formulas.
        cancelled: Set it to stop after the files that are being worked on.

    Returns:
        What became of each file, in the order of the frames.

    Raises:
        ConvertRequestError: The request cannot be met; nothing was written. Every file was inspected.
        ConvertError: A file failed: it cannot be decoded, written, or holds something else than was written.
        ConvertCancelled: `cancelled` was set.
    """
    request = ConvertRequest(
        str(source), str(target), from_space, to_space, look, display, view, parts, channels, compression, pixel_type,
        resize, crop, frames, ocio, unpremultiply, skip_existing, check, keep_going, threads, memory, device,
    )  # fmt: skip
    return list(run(prepare(request), cancelled))


def prepare(request: ConvertRequest) -> Conversion:
    """Checks a request whole: every file is inspected, nothing is written.

    Raises:
        ConvertRequestError: It cannot be met; one line for each problem.
    """
    check_request(request)
    if request.device == "cuda":
        _check_cuda()
    try:
        pairs = pairs_of(request)
        planner = Planner(request)
    except (SequenceError, ColorError) as error:
        raise ConvertRequestError(_in_our_words(error)) from error
    plans: list[FilePlan] = []
    problems: dict[str, None] = {}
    for frame, source, target in pairs:
        try:
            plans.append(planner.plan(frame, source, target))
        except (PlateError, ColorError) as error:
            problems[_in_our_words(error)] = None
        except ConvertRequestError as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        listed = list(problems)
        more = [f"and {len(listed) - _NAMED} more like these"] if len(listed) > _NAMED else []
        raise ConvertRequestError(*listed[:_NAMED], *more)
    threads = request.threads or processors()
    return Conversion(
        request, tuple(plans), tuple(planner.decisions), threads, under_way(plans, threads, request.memory)
    )


def run(conversion: Conversion, cancelled: threading.Event | None = None) -> Iterator[ConvertedFile]:
    """Carries a conversion out and yields every file as it is done, in order.

    Raises:
        ConvertError: A file failed.
        ConvertCancelled: `cancelled` was set.
    """
    stop = cancelled or threading.Event()
    remove_leftovers(plan.target for plan in conversion.files)
    shared = [f"stpn {version('stpn')} convert {conversion.request.device}".encode()]
    within = 0 if len(conversion.files) > 1 or conversion.threads == 1 else conversion.threads
    with library_threads(within):
        yield from in_order(partial(_one, conversion, shared, stop), conversion.files, conversion.ahead, stop)


def _one(conversion: Conversion, shared: list[bytes], stop: threading.Event, plan: FilePlan) -> ConvertedFile:
    start = time.perf_counter()

    def proceed() -> None:
        if stop.is_set():
            raise ConvertCancelled

    def done(status: str, notes: list[str]) -> ConvertedFile:
        said = tuple(dict.fromkeys(one_line(note) for note in notes))
        return ConvertedFile(plan.frame, plan.source, plan.target, status, time.perf_counter() - start, said)

    proceed()
    request = conversion.request
    try:
        if plan.copy:
            if request.skip_existing and same_bytes(plan.source, plan.target):
                return done("skipped", [])
            return done("copied", convert_file(plan, None, check=request.check, proceed=proceed))
        digest = made_of(plan, shared, content_digest(plan.source))
        if request.skip_existing and is_whole_and_of(plan.target, digest):
            return done("skipped", [])
        return done("converted", convert_file(plan, digest, check=request.check, proceed=proceed))
    except (PlateError, HeaderError, OSError, MemoryError, ValueError, RuntimeError) as error:
        problem = _failure(plan, error)
        if request.keep_going:
            return done("failed", [problem])
        raise ConvertError(problem) from error


def _failure(plan: FilePlan, error: BaseException) -> str:
    """One line: where, what, what to do."""
    if isinstance(error, PlateError):
        text = str(error)
    elif isinstance(error, HeaderError):
        text = f"{plan.source}: {error}"
    elif isinstance(error, OSError) and error.filename is not None and str(error.filename) == str(plan.source):
        text = f"{plan.source}: cannot be read: {error.strerror or error}"
    elif isinstance(error, OSError):
        text = f"{plan.target}: cannot be written: {error.strerror or error}{what_to_do(error)}"
    elif isinstance(error, MemoryError):
        text = f"{plan.source}: out of memory; pass --memory or --threads 1"
    else:
        text = f"{plan.source}: {error}"
    where = "" if plan.frame is None else f"frame {plan.frame}: "
    return where + one_line(text)


def _in_our_words(error: Exception) -> str:
    return str(error).replace("--colorspace", "--from")


def _check_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        raise ConvertRequestError("--device cuda: expected an NVIDIA GPU for torch, found none; use --device cpu")
