"""What a person asks for, as typed, and the error that says what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PROPERTIES = ("color", "hdr", "mask", "channels")
METHODS = ("aligned", "flow", "stpn")
CHANNEL_CURVES = ("linear", "log")
MASK_OUTPUTS = ("alone", "plate")
KEYS_USED = ("both", "previous", "next")
DEVICES = ("auto", "cpu", "cuda", "tensorrt")

_LONGEST_LINE = 4000
_NAMED = 8  # frames or files that an error names before it says "and N more"


def one_line(text: str) -> str:
    """A text as one printable line of bounded length.

    Names out of files may hold line breaks, or what steers a terminal or a farm's reader of lines.
    """
    line = "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in text)
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 4]} ..."


class RequestError(Exception):
    """A request that cannot be met; nothing was written.

    Attributes:
        problems: one line each: what was expected, what was found, where, what to do.
    """

    def __init__(self, *problems: str) -> None:
        self.problems = tuple(one_line(problem) for problem in problems)
        super().__init__("; ".join(self.problems))


@dataclass(frozen=True)
class Request:
    """One shot as asked for; see `stpn propagate --help` for each.

    Attributes:
        plate, keys, output: patterns of numbered files.
        property: what is carried.
        interval: frames from key to key; None: every key file there is, or `key_frames`.
        first_key: frame of the first key; None: the first key file.
        key_frames: frame range of the keys, in place of an interval.
        frames: frame range to render; None: the whole plate.
        cuts: auto: found in the plate; none; or a range, the first frames of new shots.
        analysis: a file of `stpn analyse`, which has looked for cuts already; None: they are looked for.
        colorspace, keys_colorspace: a space of the config, or auto.
        ocio: a config; None: $OCIO, else the built-in one.
        working: the curve of the lightness that is matched: linear (CIE lightness), or a log space of the config.
        channels: patterns of the channels to carry, comma separated; for channels.
        channels_curve: curve in which channels are blended: linear or log.
        mask_labels: whether the keys hold object numbers; for mask.
        mask_output: alone: the mattes only; plate: in a copy of the plate's file.
        ldr_curve: the plate's color space; None: its curve is fitted to the keys; for hdr.
        hdr_colorspace: scene-linear space of the result; None: the keys' own light.
        method: auto: the best there is for the property.
        weights: a file of weights for the method's network; None: those that are shipped.
        adapt: how long to adapt the network to the keys: minutes, or steps such as 300steps; of mattes
            steps alone; None: not at all.
        confidence: pattern for the confidence; None: not written.
        compression: keep, or one by name.
        skip_existing: whether results stay that are there, whole, and what this request would make.
        keep_going: whether the other frames are still made where one fails.
        threads: 0: as many as there are processors.
        memory: GiB that a render may take, about; 0: half of what there is.
    """

    plate: str
    keys: str
    output: str
    property: str = "color"
    interval: int | None = None
    first_key: int | None = None
    key_frames: str | None = None
    frames: str | None = None
    colorspace: str = "auto"
    keys_colorspace: str = "auto"
    ocio: str | None = None
    working: str = "linear"
    channels: str | None = None
    channels_curve: str = "linear"
    mask_labels: bool = False
    mask_output: str = "alone"
    ldr_curve: str | None = None
    hdr_colorspace: str | None = None
    method: str = "auto"
    keys_used: str = "both"
    cuts: str = "auto"
    analysis: str | None = None
    weights: str | None = None
    adapt: str | None = None
    confidence: str | None = None
    compression: str = "keep"
    device: str = "auto"
    skip_existing: bool = False
    keep_going: bool = False
    threads: int = 0
    memory: float = 0.0


def first_of(problems: list[str]) -> list[str]:
    """The first few problems, and how many more there are."""
    more = len(problems) - _NAMED
    return problems[:_NAMED] + ([f"and {more} more like these"] if more > 0 else [])


def listed(frames: Iterable[int]) -> str:
    """Frames as a short range: 1001-1020, 1025."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    text = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    return ", ".join(text[:_NAMED]) + (f" and {len(text) - _NAMED} more" if len(text) > _NAMED else "")
