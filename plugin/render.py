"""A shot becomes frames: span by span, every frame whole or not there, the same whether alone or with others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import AlignedCarrier, Carrier, FlowCarrier, Key, NetworkCarrier
from stpn.ocio.plate import PartInfo, PlateError, inspect_plate, new_plate, read_plate, write_plate
from stpn.plugin import color
from stpn.plugin.keys import Span
from stpn.plugin.memory import return_free_memory
from stpn.plugin.progress import Status
from stpn.plugin.shot import Shot

Image = NDArray[np.float32]


class RenderError(Exception):
    """A frame could not be made; the message says which and why."""


class Cancelled(Exception):
    """Somebody asked to stop; every file that is there is whole."""


@dataclass(frozen=True)
class Frame:
    """What became of one frame.

    Attributes:
        frame: its number.
        path: the result.
        status: "key" (as given), "carried", or "skipped" (was there already).
        keys: the key frames that served it.
        confidence: mean over the picture, 0..1; None for a skipped frame.
        seconds: time of its own work, motion that frames share left out.
        notes: what was stored differently than it came, and why.
    """

    frame: int
    path: Path
    status: str
    keys: tuple[int, ...]
    confidence: float | None
    seconds: float
    notes: tuple[str, ...] = ()


def prepare(shot: Shot, cancelled: threading.Event | None = None, status: Status | None = None) -> Shot:
    """Adapts the network, where that was asked for, is not done yet and a frame is to be carried; `render` does so too.

    Args:
        shot: as `stpn.plugin.shot.check` found it right.
        cancelled: set it to stop.
        status: where to say how far it is.

    Raises:
        RenderError, Cancelled: as for `render`.
    """
    work, cancelled = _Work(shot, threading.Event()), cancelled or threading.Event()
    if shot.adaptation is None or all(work.done(frame) for span in shot.spans() for frame in span.targets):
        return shot
    from stpn.plugin.adaptation import adapted

    return adapted(shot, cancelled, status)


def render(shot: Shot, cancelled: threading.Event | None = None) -> Iterator[Frame]:
    """Renders a shot and yields every frame as it is done, in ascending order.

    Args:
        shot: as `stpn.plugin.shot.check` found it right.
        cancelled: set it to stop after the frames that are being worked on.

    Raises:
        RenderError: a frame failed.
        Cancelled: `cancelled` was set.
    """
    shot = prepare(shot, cancelled)
    work = _Work(shot, cancelled or threading.Event())
    # frames run side by side, so threads within one would get in each other's way; and results would depend on them
    cv2.setNumThreads(1)
    if shot.network is not None:
        import torch

        torch.set_num_threads(1)
    with ThreadPoolExecutor(shot.threads, thread_name_prefix="stpn-render") as pool:
        try:
            by_first = {span.targets[0]: span for span in shot.spans()}
            keys = set(shot.key_frames)
            for frame in shot.frames:
                if frame in keys:
                    yield work.key(frame)
                elif frame in by_first:
                    yield from work.span(by_first[frame], pool)
                    return_free_memory()
        except BaseException:
            work.cancelled.set()  # what still waits in the pool returns at once
            raise


class _Work:
    """The steps of a render; the order of what is done stands in `render`."""

    def __init__(self, shot: Shot, cancelled: threading.Event) -> None:
        self.shot = shot
        self.cancelled = cancelled

    def key(self, frame: int) -> Frame:
        """Writes a key frame: the key itself, beside everything else of the plate."""
        start = time.perf_counter()
        if self.done(frame):
            return Frame(frame, self.shot.output.path(frame), "skipped", (frame,), None, 0.0)
        self._check_cancelled()
        with telling(frame):
            channels = color.key_as_given(read_plate(self.shot.keys.files.path(frame)), self.shot)
            notes = self._write(frame, channels, None)
        return Frame(frame, self.shot.output.path(frame), "key", (frame,), 1.0, time.perf_counter() - start, notes)

    def span(self, span: Span, pool: ThreadPoolExecutor) -> Iterator[Frame]:
        """Renders the frames that the same keys serve."""
        missing = [frame for frame in span.targets if not self.done(frame)]
        carrier = self._carrier(span, missing, pool) if missing else None
        left = set(missing)

        def one(frame: int) -> Frame:
            if carrier is None or frame not in left:
                return Frame(frame, self.shot.output.path(frame), "skipped", span.keys, None, 0.0)
            return self._carried(frame, span, carrier)

        yield from _in_order(pool, one, span.targets, self.shot.threads + 1)

    def _carrier(self, span: Span, targets: list[int], pool: ThreadPoolExecutor) -> Carrier:
        shot = self.shot
        keys = span.keys
        frames: Iterable[int] = Span(span.before, span.after, tuple(targets)).reach
        if shot.request.method == "stpn":
            frames = sorted({*keys, *targets})
        luminances: dict[int, Image] = {}
        for frame, luminance in zip(frames, pool.map(self._luminance, frames), strict=True):
            luminances[frame] = luminance
        factor = color.exposure([luminances[key] for key in keys])
        carried = [Key(key, self._property(key, luminances[key])) for key in keys]
        lightness = {f: color.lightness(luminances.pop(f), factor, shot.working) for f in frames}
        if shot.request.method != "stpn":
            _look_past(shot.flashes, lightness, span)
        self._check_cancelled()

        def parallel(function: Callable[..., Image], items: Iterable[Any]) -> Iterable[Image]:
            def checked(item: Any) -> Image:
                self._check_cancelled()
                return function(item)

            return pool.map(checked, items)

        if shot.network is None:
            return FlowCarrier(carried, lightness, targets, parallel)
        from stpn.engine.network import SwitchableTPN

        if isinstance(shot.network, SwitchableTPN):
            return NetworkCarrier(carried, lightness, shot.network)
        return AlignedCarrier(carried, lightness, targets, shot.network, parallel)

    def _luminance(self, frame: int) -> Image:
        self._check_cancelled()
        with telling(frame):
            return color.luminance(read_plate(self.shot.plate.files.path(frame)), self.shot)

    def _property(self, key: int, plate_luminance: Image) -> Image:
        with telling(key):
            return color.key_property(read_plate(self.shot.keys.files.path(key)), plate_luminance, self.shot)

    def _carried(self, frame: int, span: Span, carrier: Carrier) -> Frame:
        self._check_cancelled()
        start = time.perf_counter()
        with telling(frame):
            ab, confidence = carrier.carry(frame)
            plate = read_plate(self.shot.plate.files.path(frame))
            notes = self._write(frame, color.colored(plate, ab, self.shot), confidence, plate)
        return Frame(
            frame, self.shot.output.path(frame), "carried", span.keys, float(confidence.mean()),
            time.perf_counter() - start, notes,
        )  # fmt: skip

    def _write(
        self, frame: int, channels: dict[str, NDArray[Any]], confidence: Image | None, plate: Any = None
    ) -> tuple[str, ...]:
        """Writes the confidence first: a result that is there has its confidence beside it."""
        shot = self.shot
        plate = plate or read_plate(shot.plate.files.path(frame))
        if shot.confidence is not None:
            path = shot.confidence.path(frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = plate.info.parts[shot.plate.part]
            if confidence is None:
                confidence = np.ones((part.height, part.width), np.float32)
            windows = {"data_window": part.data_window, "display_window": part.display_window}
            write_plate(path, new_plate({"confidence": confidence.astype(np.float16)}, **windows))
        path = shot.output.path(frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_plate(
            path,
            plate,
            replace=channels,
            drop=[name for name in shot.plate.channels if name not in channels],
            part=shot.plate.part,
            compression=shot.request.compression,
            attributes=color.space_attributes(shot.plate.space) if shot.writes_linear else {},
        )

    def done(self, frame: int) -> bool:
        """Whether --skip-existing holds for a frame: what is asked for is there, whole and of the right size."""
        if not self.shot.request.skip_existing:
            return False
        shot = self.shot
        wanted = shot.plate.info.parts[shot.plate.part]
        return _whole(shot.output.path(frame), shot.plate.part, wanted) and (
            shot.confidence is None or _whole(shot.confidence.path(frame), 0, wanted)
        )

    def _check_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled


def _whole(path: Path, part: int, wanted: PartInfo) -> bool:
    try:
        parts = inspect_plate(path).parts
    except PlateError:
        return False
    return part < len(parts) and (parts[part].width, parts[part].height) == (wanted.width, wanted.height)


def _look_past(flashes: Iterable[int], lightness: dict[int, Image], span: Span) -> None:
    """Matches a flash as if it were the frame beside it, on the side of a key: motion that starts from it, or leads
    through it, would be lost. Its luminance in the result is its own all the same."""
    beside = -1 if span.before is not None else 1
    for frame in sorted(flashes, reverse=beside > 0):
        if frame in lightness and frame + beside in lightness and frame not in span.keys:
            lightness[frame] = lightness[frame + beside]


@contextmanager
def telling(frame: int) -> Iterator[None]:
    """Names the frame in whatever goes wrong within."""
    try:
        yield
    except (PlateError, OSError, MemoryError) as error:
        raise RenderError(f"frame {frame}: {str(error) or type(error).__name__}") from error


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[int], Frame], items: Iterable[int], ahead: int
) -> Iterator[Frame]:
    """Results in the order of the items, with so many under way that memory stays bounded."""
    waiting: deque[Future[Frame]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
