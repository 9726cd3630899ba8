"""Has frames made by the worker: the client of `docs/worker.md` for any Python with numpy.

    with WorkerClient(Installation.read("stpn.conf")) as client:
        result = client.render(Job(1005, sources, keys, {"property": "color"}))
        result.pixels  # (H, W, C)

Pictures are (H, W, C) arrays of float32, float16, uint16 or uint8, row 0 at the top, channels as `Picture.channels`
says; values are passed on as they are, below 0 and above 1 too. Those that render on several threads open a client
for each: one does one job at a time. Errors are `WorkerError`, and `Cancelled` where the caller said so.

Nothing here imports more than the standard library, numpy and its neighbours: a host's plugin folder holds a copy.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from .worker_link import TYPES, Broken, Link, whole
from .worker_messages import Message, MessageError, encode, message
from .worker_start import Cancelled, Installation, WorkerError

__all__ = ["Cancelled", "Installation", "Job", "Picture", "Result", "WorkerClient", "WorkerError"]

CHANNELS = ("RGBA", "RGB", "A")


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture that goes to the worker; its pixels must not change any more.

    Attributes:
        pixels: (H, W, C) float32, float16, uint16 or uint8; any strides.
        channels: RGBA, RGB or A.
    """

    pixels: np.ndarray[Any, Any]
    channels: str

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.channels not in CHANNELS or len(shape) != 3 or shape[2] != len(self.channels) or 0 in shape:
            raise ValueError(f"picture: expected (H, W, C) of RGBA, RGB or A, got {shape} of {self.channels!r}")
        if self.pixels.dtype not in TYPES.values():
            raise ValueError(f"picture: expected float32, float16, uint16 or uint8, got {self.pixels.dtype}")

    @property
    def line(self) -> str:
        """Width, height, type and channels, as a job says it."""
        height, width, _ = self.pixels.shape
        kind = next(name for name, dtype in TYPES.items() if dtype == self.pixels.dtype)
        return f"{width} {height} {kind} {self.channels}"

    @cached_property
    def id(self) -> str:
        """32 hex digits, the same for the same pixels and only then."""
        digest = hashlib.blake2b(f"{self.line}\n".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self.pixels).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Job:
    """One frame to make; `docs/worker.md` says what each must hold.

    Attributes:
        frame: its number.
        sources: frames of the plate by number: every one from key to key.
        keys: the one or two keys that serve the frame, by number; or itself alone.
        parameters: of `plugin/node.py` by name; those left out have their default.
        matte: where to apply.
        colorspace, keys_colorspace: what the host says of Source and Keys; "": nothing.
        want: type and channels of the result.
    """

    frame: int
    sources: Mapping[int, Picture]
    keys: Mapping[int, Picture]
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    matte: Picture | None = None
    colorspace: str = ""
    keys_colorspace: str = ""
    want: tuple[str, str] = ("float", "RGBA")

    def pictures(self) -> dict[str, Picture]:
        """Every picture once, by its id."""
        used = [*self.sources.values(), *self.keys.values(), *([] if self.matte is None else [self.matte])]
        return {picture.id: picture for picture in used}

    def message(self) -> Message:
        """As it is sent."""
        lines: list[tuple[str, object]] = [("frame", self.frame)]
        for name, value in self.parameters.items():
            lines.append(("parameter", f"{name} {int(value) if isinstance(value, bool) else value}"))
        lines += [("picture", f"{key} {picture.line}") for key, picture in self.pictures().items()]
        lines += [("source", f"{number} {picture.id}") for number, picture in sorted(self.sources.items())]
        lines += [("key", f"{number} {picture.id}") for number, picture in sorted(self.keys.items())]
        if self.matte is not None:
            lines.append(("matte", self.matte.id))
        said = {"colorspace": self.colorspace, "keys_colorspace": self.keys_colorspace}
        lines += [(name, value) for name, value in said.items() if value]
        return message("job", *lines, ("want", " ".join(self.want)))


@dataclass(frozen=True, eq=False)
class Result:
    """A frame that was made.

    Attributes:
        pixels: (H, W, C) of the wanted type; the caller's own.
        channels: those that were made, among those wanted; the rest are the Source's.
        confidence: mean over the picture, 0..1.
        seconds: that the engine took; 0 where the result was still there.
        notes: what was decided or stored differently, and why.
    """

    pixels: np.ndarray[Any, Any]
    channels: str
    confidence: float
    seconds: float
    notes: tuple[str, ...]


class WorkerClient:
    """Connects to the worker when there is a job, starts it where nobody has, and connects anew where it has ended.

    Args:
        installation: whose worker.
        device: auto, cpu, cuda or tensorrt.
        client: who calls, for the worker's log.
    """

    def __init__(self, installation: Installation, device: str = "auto", client: str = "python") -> None:
        self._installation = installation
        self._device = device
        self._client = client
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._log = "its log"
        self._answered = False

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leaves the worker. A later job connects again."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def render(
        self,
        job: Job,
        progress: Callable[[float, str], None] = lambda fraction, text: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Result:
        """Has one frame made.

        Args:
            job: what to make.
            progress: called with 0..1 and what is being done.
            cancelled: asked every tenth of a second; once it says so, the job is given up.

        Raises:
            WorkerError: see its kinds.
            Cancelled: `cancelled` said so.
        """
        try:
            encode(job.message())
        except MessageError as error:
            raise WorkerError("request", f"the job cannot be sent: {error}") from error
        with self._lock:
            if self._link is not None and not self._link.alive:
                self.close()
            reused = self._link is not None
            while True:
                try:
                    outcome = self._attempt(job, progress, cancelled)
                    break
                except Broken as error:
                    # a worker that ended just before the job came answers nothing; only then is it no failure
                    if not reused or self._answered:
                        raise WorkerError(
                            "connection", f"the worker ended within the job: {error}; see {self._log}"
                        ) from error
                    reused = False
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _attempt(
        self, job: Job, progress: Callable[[float, str], None], cancelled: Callable[[], bool]
    ) -> Result | WorkerError | Cancelled:
        """Does a job on the connection there is, or a new one, which is closed on anything but a proper end."""
        self._answered = False
        try:
            if self._link is None:
                self._link = Link(self._installation, self._device, self._client, cancelled)
                self._log = str(self._link.log)
            self._link.expect()
            self._link.say(job.message())
            return self._listen(self._link, job, progress, cancelled)
        except MessageError as error:
            text = f"the worker was not understood: {error}; see {self._log}"
            self.close()
            raise WorkerError("protocol", text) from error
        except BaseException:
            self.close()
            raise

    def _listen(
        self, link: Link, job: Job, progress: Callable[[float, str], None], cancelled: Callable[[], bool]
    ) -> Result | WorkerError | Cancelled:
        """Answers the worker until the job has ended."""
        given_up = False
        while True:
            answer = link.hear(_never if given_up else cancelled)
            if answer is None:
                given_up = True
                link.say(message("cancel"))
                continue
            self._answered = True
            if answer.verb == "progress":
                progress(_fraction(answer, "done"), answer.one("what", "") or "")
                if not given_up and cancelled():
                    given_up = True
                    link.say(message("cancel"))
            elif answer.verb == "need":
                if not given_up:  # the cancel that is under way stands in for it
                    _fill(link, answer, job.pictures())
                    link.say(message("filled"))
            elif answer.verb == "done":
                result = _result(link, answer, job)
                link.say(message("release"))
                return Cancelled() if given_up else result
            elif answer.verb == "cancelled":
                return Cancelled()
            elif answer.verb == "failed":
                reason = answer.one("reason") or f"the worker gave no reason; see {self._log}"
                return WorkerError(answer.one("kind") or "render", reason)
            else:
                raise MessageError(f"expected an answer to a job, got {answer.verb!r}")


def _never() -> bool:
    return False


def _fill(link: Link, answer: Message, pictures: Mapping[str, Picture]) -> None:
    """Puts the pictures that a `need` asks for where it says."""
    for line in answer.all("picture"):
        name, _, offset = line.partition(" ")
        if name not in pictures:
            raise MessageError(f"expected a picture of the job, got {name!r}")
        link.put(pictures[name].pixels, whole(offset, "offset"))


def _result(link: Link, answer: Message, job: Job) -> Result:
    """What a `done` says, its picture copied."""
    values = (answer.one("picture") or "").split(" ")
    if len(values) != 5:
        raise MessageError(f"expected a picture of five values, got {values!r}")
    offset, width, height = (whole(value, "picture") for value in values[:3])
    kind, channels = values[3:]
    wanted_kind, wanted_channels = job.want
    # in the order wanted, none twice: what is left of the wanted ones without those that were not made
    if kind != wanted_kind or not channels or channels != "".join(one for one in wanted_channels if one in channels):
        raise MessageError(f"expected {wanted_kind} and some of {wanted_channels}, got {kind} {channels}")
    return Result(
        pixels=link.take(offset, width, height, kind, len(channels)),
        channels=channels,
        confidence=_fraction(answer, "confidence"),
        seconds=_number(answer, "seconds"),
        notes=tuple(answer.all("note")),
    )


def _number(answer: Message, name: str) -> float:
    text = answer.one(name)
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise MessageError(f"{name}: expected a number, 0 or more, got {text!r}")
    return value


def _fraction(answer: Message, name: str) -> float:
    return min(_number(answer, name), 1.0)
