"""A shot becomes frames: span by span, every frame whole or not there, the same whether alone or with others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Carrier
from stpn.engine.stages import stage
from stpn.ocio.atomic import remove_leftovers
from stpn.ocio.plate import new_plate, write_plate
from stpn.plugin.adaptation_plan import MaskPlan
from stpn.plugin.finished import finished, result_digest, written_by
from stpn.plugin.keys import Span
from stpn.plugin.memory import return_free_memory
from stpn.plugin.progress import Status
from stpn.plugin.properties.interface import Result
from stpn.plugin.reading import Cancelled, Reader, RenderError, telling
from stpn.plugin.result_digest import confidence_digest
from stpn.plugin.shared_motion import carrier_of
from stpn.plugin.shot import Shot

__all__ = ["Cancelled", "Frame", "RenderError", "prepare", "render"]

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """What became of one frame.

    Attributes:
        frame: its number.
        path: the result.
        status: "key" (as given), "carried", "skipped" (was there already), or "failed".
        keys: the key frames that served it.
        confidence: mean over the picture, 0..1; None for a skipped or failed frame.
        seconds: time of its own work, motion that frames share left out.
        notes: what was stored differently than it came, and why.
        error: why it failed.
    """

    frame: int
    path: Path
    status: str
    keys: tuple[int, ...]
    confidence: float | None
    seconds: float
    notes: tuple[str, ...] = ()
    error: str | None = None


def prepare(shot: Shot, cancelled: threading.Event | None = None, status: Status | None = None) -> Shot:
    """Adapts the network, where that was asked for, is not done yet and a frame is to be carried; `render` does so too.

    Args:
        shot: as `stpn.plugin.shot.check` found it right.
        cancelled: set it to stop.
        status: where to say how far it is.

    Raises:
        RenderError, Cancelled: as for `render`.
    """
    if shot.adaptation is None or all(finished(shot, frame, span) for span in shot.spans() for frame in span.targets):
        return shot
    if isinstance(shot.adaptation, MaskPlan):
        from stpn.plugin.mask_adaptation import adapted_to_mattes

        return adapted_to_mattes(shot, cancelled or threading.Event(), status)
    from stpn.plugin.adaptation import adapted

    return adapted(shot, cancelled or threading.Event(), status)


def render(shot: Shot, cancelled: threading.Event | None = None) -> Iterator[Frame]:
    """Renders a shot and yields every frame as it is done, in ascending order; temporary files that killed processes
    left of these frames are removed first.

    Args:
        shot: as `stpn.plugin.shot.check` found it right.
        cancelled: set it to stop after the frames that are being worked on.

    Raises:
        RenderError: a frame failed, and the request does not say to keep going.
        Cancelled: `cancelled` was set.
    """
    remove_leftovers(written_by(shot))
    shot = prepare(shot, cancelled)
    # frames run side by side, so threads within one would get in each other's way; and results would depend on them
    cv2.setNumThreads(1)
    if shot.network is not None:
        import torch

        from stpn.engine.device import place

        torch.set_num_threads(1)
        if shot.device == "cuda":
            place(shot.network, shot.device)
    with (
        ThreadPoolExecutor(shot.threads, thread_name_prefix="stpn-render") as pool,
        ThreadPoolExecutor(shot.threads, thread_name_prefix="stpn-render-within") as inner,
    ):
        reader = Reader(shot.plate.files, shot.keys, cancelled or threading.Event(), pool, inner)
        work = _Work(shot, reader)
        try:
            yield from _in_order(reader, work.all(), shot.threads)
        except BaseException:
            reader.cancelled.set()  # what still waits in the pool returns at once
            raise


class _Work:
    """The steps of a render."""

    def __init__(self, shot: Shot, reader: Reader) -> None:
        self.shot, self.reader = shot, reader

    def all(self) -> Iterator[Callable[[], Frame]]:
        """What makes each frame, in ascending order. What a span shares is made when its first frame is asked for,
        while those before it are still being worked on."""
        by_first = {span.targets[0]: span for span in self.shot.spans()}
        keys = set(self.shot.key_frames)
        for frame in self.shot.frames:
            if frame in keys:
                yield partial(self.key, frame)
            elif frame in by_first:
                return_free_memory()
                yield from self.span(by_first[frame])

    def key(self, frame: int) -> Frame:
        """Writes a key frame: the key itself, beside everything else of the plate."""
        self.reader.check_cancelled()
        start = time.perf_counter()
        if finished(self.shot, frame, None):
            return Frame(frame, self.shot.output.path(frame), "skipped", (frame,), None, 0.0)
        try:
            with telling(frame):
                made_of = result_digest(self.shot, frame, None)  # of inputs as they are before they are read
                result = self.shot.prop.key_frame(frame, self.reader)
                with stage("write"):
                    notes = self._write(frame, result, None, made_of)
        except RenderError as error:
            return self._failed(frame, (frame,), error, start)
        return Frame(frame, self.shot.output.path(frame), "key", (frame,), 1.0, time.perf_counter() - start, notes)

    def span(self, span: Span) -> Iterator[Callable[[], Frame]]:
        """What makes each of the frames that the same keys serve."""
        shot = self.shot
        there = self.reader.parallel(lambda frame: finished(shot, frame, span), span.targets)
        missing = [frame for frame, is_there in zip(span.targets, there, strict=True) if not is_there]
        carrier, lost = carrier_of(shot, span, missing, self.reader)
        left = set(missing)

        def one(frame: int) -> Frame:
            if frame in lost:
                return self._failed(frame, span.keys, lost[frame], time.perf_counter())
            if carrier is None or frame not in left:
                return Frame(frame, shot.output.path(frame), "skipped", span.keys, None, 0.0)
            return self._carried(frame, span, carrier)

        yield from (partial(one, frame) for frame in span.targets)

    def _carried(self, frame: int, span: Span, carrier: Carrier) -> Frame:
        self.reader.check_cancelled()
        start = time.perf_counter()
        try:
            with telling(frame):
                with stage("digest"):
                    made_of = result_digest(self.shot, frame, span)
                values, confidence = carrier.carry(frame)
                result = self.shot.prop.carried_frame(frame, values, span, self.reader)
                with stage("write"):
                    notes = self._write(frame, result, confidence, made_of)
        except RenderError as error:
            return self._failed(frame, span.keys, error, start)
        return Frame(
            frame, self.shot.output.path(frame), "carried", span.keys, float(confidence.mean()),
            time.perf_counter() - start, notes,
        )  # fmt: skip

    def _failed(self, frame: int, keys: tuple[int, ...], error: RenderError, start: float) -> Frame:
        """A frame that failed, where the others are still wanted; else raises the error."""
        if not self.shot.request.keep_going:
            raise error
        said = str(error) if error.frame == frame else f"frame {frame}: not made: {error}"
        path = self.shot.output.path(frame)
        return Frame(frame, path, "failed", keys, None, time.perf_counter() - start, error=said)

    def _write(self, frame: int, result: Result, confidence: Image | None, made_of: str | None) -> tuple[str, ...]:
        """Writes the confidence first: a result that is there has its confidence beside it."""
        shot = self.shot
        if shot.confidence is not None:
            path = shot.confidence.path(frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = shot.plate.info.parts[shot.plate.part]
            if confidence is None:
                confidence = np.ones((part.height, part.width), np.float32)
            sure = {"Y": confidence.astype(np.float16)}  # grey in every host; other names most do not show
            plain = new_plate(sure, data_window=part.data_window, display_window=part.display_window)
            write_plate(path, plain, made_of=made_of and confidence_digest(made_of))
        path = shot.output.path(frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        others = {part: channels for part, channels in result.channels.items() if part != result.part}
        notes = write_plate(
            path,
            result.plate,
            replace=result.channels.get(result.part, {}),
            replace_elsewhere=others,
            drop=result.drop,
            part=result.part,
            compression=shot.request.compression,
            attributes=result.attributes,
            made_of=made_of,
        )
        return (*result.notes, *notes)


def _in_order(reader: Reader, works: Iterable[Callable[[], Frame]], at_once: int) -> Iterator[Frame]:
    """Results in the order of the works, with so many under way, and one waiting, that memory stays bounded."""
    waiting: deque[Future[Frame]] = deque()
    for work in works:
        waiting.append(reader.submit(work))
        if len(waiting) > at_once:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
