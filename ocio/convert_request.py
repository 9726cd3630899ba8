"""What `stpn convert` is asked for, as typed, taken apart and checked as far as that goes without a file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from stpn.ocio.exr_attributes import COMPRESSIONS

PIXEL_TYPES = ("keep", "half", "float", "8", "10", "12", "16")
"""Of `--type`: "keep", the two of EXR, and bits of integers for the formats that have them."""

CROPS = ("display", "window")
_COMPRESSION_NAMES = {"htj2k": "htj2k256"}
_LEVELLED = ("dwaa", "dwab")
_MAXIMUM_SIDE = 1 << 17


def one_line(text: str) -> str:
    """Returns a text as one printable line, whatever the names of a file hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


class ConvertRequestError(ValueError):
    """A conversion that cannot be made; nothing was written.

    Attributes:
        problems: One line each: what was expected, what came, where, what to do.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(one_line(problem) for problem in problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True)
class ConvertRequest:
    """One conversion as asked for; `stpn.ocio.convert.convert` explains each.

    Attributes:
        source, target: Patterns of numbered files, or one file each.
        from_space, to_space: Color spaces of the config; None: told from the file, no conversion.
        look: Looks of the config, comma separated, each with + or - in front if wanted.
        display, view: A display of the config and one of its views, in place of `to_space`.
        parts, channels: Patterns, comma separated.
        compression: "keep", or one by name, with its level behind a colon for dwaa and dwab.
        pixel_type: One of `PIXEL_TYPES`.
        resize: "1920x1080" or "50%".
        crop: One of `CROPS`.
        frames: A frame range.
        ocio: A config file.
        unpremultiply: Whether color is divided by its alpha around transforms that are no matrix.
        skip_existing, check, keep_going: See `convert`.
        threads: 0: as many as there are processors.
        memory: GiB that the frames under way may take; None: half of what is free.
        device: "cpu" or "cuda".
    """

    source: str
    target: str
    from_space: str | None = None
    to_space: str | None = None
    look: str | None = None
    display: str | None = None
    view: str | None = None
    parts: str | None = None
    channels: str | None = None
    compression: str = "keep"
    pixel_type: str = "keep"
    resize: str | None = None
    crop: str | None = None
    frames: str | None = None
    ocio: str | None = None
    unpremultiply: bool = True
    skip_existing: bool = False
    check: bool = False
    keep_going: bool = False
    threads: int = 0
    memory: float | None = None
    device: str = "cpu"

    @property
    def wants_color(self) -> bool:
        """Whether a color transform was asked for."""
        return any(value is not None for value in (self.to_space, self.look, self.display, self.view))

    @property
    def wants_change(self) -> bool:
        """Whether anything was asked for but to have the file elsewhere."""
        asked = (self.resize, self.crop, self.parts, self.channels)
        kept = (self.pixel_type, self.compression.strip().lower())
        return self.wants_color or any(value is not None for value in asked) or kept != ("keep", "keep")


@dataclass(frozen=True)
class Compression:
    """An EXR compression that was asked for.

    Attributes:
        name: "keep", or one of `stpn.ocio.exr_attributes.COMPRESSIONS`.
        level: Of dwaa and dwab; None: 45, OpenEXR's own.
    """

    name: str
    level: float | None = None


@dataclass(frozen=True)
class Resize:
    """A new size: columns and rows of the display window, or a factor for both."""

    columns: int = 0
    rows: int = 0
    factor: float = 0.0


def parse_compression(text: str) -> Compression:
    """Return what `--compression` says.

    Raises:
        ConvertRequestError: It is no compression, or has a level where none belongs.
    """
    name, colon, level = text.strip().lower().partition(":")
    name = _COMPRESSION_NAMES.get(name, name)
    if name != "keep" and name not in COMPRESSIONS:
        raise ConvertRequestError(f"--compression: expected keep or one of {', '.join(COMPRESSIONS)}, got {text!r}")
    if not colon:
        return Compression(name)
    if name not in _LEVELLED:
        raise ConvertRequestError(f"--compression: expected a level with dwaa or dwab only, got {text!r}")
    if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", level):
        raise ConvertRequestError(f"--compression: expected a level such as dwaa:45, got {text!r}")
    return Compression(name, float(level))


def parse_resize(text: str) -> Resize:
    """Return what `--resize` says.

    Raises:
        ConvertRequestError: It is neither columns x rows nor a percentage.
    """
    size = re.fullmatch(r"\s*(\d{1,6})\s*[xX]\s*(\d{1,6})\s*", text)
    if size and all(0 < int(side) <= _MAXIMUM_SIDE for side in size.groups()):
        return Resize(int(size[1]), int(size[2]))
    share = re.fullmatch(r"\s*(\d{1,5}(?:\.\d{1,6})?)\s*%\s*", text)
    if share and 0 < float(share[1]) <= 10000:
        return Resize(factor=float(share[1]) / 100)
    raise ConvertRequestError(f"--resize: expected a size such as 1920x1080 or a share such as 50%, got {text!r}")


def check_request(request: ConvertRequest) -> None:
    """Refuse what contradicts itself.

    Raises:
        ConvertRequestError: One line for each problem.
    """
    problems = []
    if request.pixel_type not in PIXEL_TYPES:
        problems.append(f"--type: expected one of {', '.join(PIXEL_TYPES)}, got {request.pixel_type!r}")
    if request.crop is not None and request.crop not in CROPS:
        problems.append(f"--crop: expected one of {', '.join(CROPS)}, got {request.crop!r}")
    if request.device not in ("cpu", "cuda"):
        problems.append(f"--device: expected cpu or cuda, got {request.device!r}")
    if request.threads < 0:
        problems.append(f"--threads: expected 1 or more, or 0 for all processors, got {request.threads}")
    if request.memory is not None and not 0 < request.memory < 1 << 20:
        problems.append(f"--memory: expected GiB above 0, got {request.memory}")
    if (request.display is None) != (request.view is None):
        given, other = ("--view", "--display") if request.display is None else ("--display", "--view")
        problems.append(f"{given}: expected {other} beside it, got none")
    if request.display is not None and request.to_space is not None:
        problems.append("--to: expected none beside --display and --view, which say what comes out; leave one out")
    if request.from_space is not None and not request.wants_color:
        problems.append("--from: expected --to, --look, or --display and --view beside it, got none")
    for parse, text in ((parse_compression, request.compression), (parse_resize, request.resize)):
        try:
            if text is not None:
                parse(text)
        except ConvertRequestError as error:
            problems += error.problems
    if problems:
        raise ConvertRequestError(*problems)
