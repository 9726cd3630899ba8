"""What a person asks for, as typed, and the error that says what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

METHODS = ("aligned", "flow", "stpn")
KEYS_USED = ("both", "previous", "next")
DEVICES = ("auto", "cpu", "cuda", "tensorrt")


class RequestError(Exception):
    """A request that cannot be met; nothing was written.

    Attributes:
        problems: one line each: what was expected, what was found, where, what to do.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Request:
    """One shot as asked for; see `stpn propagate --help` for each.

    Attributes:
        plate, keys, output: patterns of numbered files.
        interval: frames from key to key; None: every key file there is, or `key_frames`.
        first_key: frame of the first key; None: the first key file.
        key_frames: frame range of the keys, in place of an interval.
        frames: frame range to render; None: the whole plate.
        colorspace, keys_colorspace: a space of the config, or auto.
        ocio: a config; None: $OCIO, else the built-in one.
        working: the curve of the lightness that is matched: linear (CIE lightness), or a log space of the config.
        confidence: pattern for the confidence; None: not written.
        compression: keep, or one by name.
        threads: 0: as many as there are processors.
    """

    plate: str
    keys: str
    output: str
    interval: int | None = None
    first_key: int | None = None
    key_frames: str | None = None
    frames: str | None = None
    colorspace: str = "auto"
    keys_colorspace: str = "auto"
    ocio: str | None = None
    working: str = "linear"
    method: str = "aligned"
    keys_used: str = "both"
    confidence: str | None = None
    compression: str = "keep"
    device: str = "auto"
    skip_existing: bool = False
    threads: int = 0
