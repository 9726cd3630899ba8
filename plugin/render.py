"""A shot becomes frames: span by span, every frame whole or not there, the same whether alone or with others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Carrier
from stpn.ocio.plate import PartInfo, PlateError, inspect_plate, new_plate, write_plate
from stpn.plugin.adaptation_plan import MaskPlan
from stpn.plugin.keys import Span
from stpn.plugin.memory import return_free_memory
from stpn.plugin.progress import Status
from stpn.plugin.properties.interface import Result
from stpn.plugin.reading import Cancelled, Reader, RenderError, telling
from stpn.plugin.shot import Shot

__all__ = ["Cancelled", "Frame", "RenderError", "done", "prepare", "render"]

Image = NDArray[np.float32]


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
    if shot.adaptation is None or all(done(shot, frame) for span in shot.spans() for frame in span.targets):
        return shot
    if isinstance(shot.adaptation, MaskPlan):
        from stpn.plugin.mask_adaptation import adapted_to_mattes

        return adapted_to_mattes(shot, cancelled or threading.Event(), status)
    from stpn.plugin.adaptation import adapted

    return adapted(shot, cancelled or threading.Event(), status)


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
    # frames run side by side, so threads within one would get in each other's way; and results would depend on them
    cv2.setNumThreads(1)
    if shot.network is not None:
        import torch

        torch.set_num_threads(1)
        if shot.device == "cuda":
            shot.network.to(shot.device)
    with (
        ThreadPoolExecutor(shot.threads, thread_name_prefix="stpn-render") as pool,
        ThreadPoolExecutor(shot.threads, thread_name_prefix="stpn-render-within") as inner,
    ):
        reader = Reader(shot.plate.files, shot.keys, cancelled or threading.Event(), pool, inner)
        work = _Work(shot, reader)
        try:
            by_first = {span.targets[0]: span for span in shot.spans()}
            keys = set(shot.key_frames)
            for frame in shot.frames:
                if frame in keys:
                    yield work.key(frame)
                elif frame in by_first:
                    yield from work.span(by_first[frame])
                    return_free_memory()
        except BaseException:
            reader.cancelled.set()  # what still waits in the pool returns at once
            raise


class _Work:
    """The steps of a render; the order of what is done stands in `render`."""

    def __init__(self, shot: Shot, reader: Reader) -> None:
        self.shot, self.reader = shot, reader

    def key(self, frame: int) -> Frame:
        """Writes a key frame: the key itself, beside everything else of the plate."""
        start = time.perf_counter()
        if done(self.shot, frame):
            return Frame(frame, self.shot.output.path(frame), "skipped", (frame,), None, 0.0)
        with telling(frame):
            notes = self._write(frame, self.shot.prop.key_frame(frame, self.reader), None)
        return Frame(frame, self.shot.output.path(frame), "key", (frame,), 1.0, time.perf_counter() - start, notes)

    def span(self, span: Span) -> Iterator[Frame]:
        """Renders the frames that the same keys serve."""
        shot = self.shot
        missing = [frame for frame in span.targets if not done(shot, frame)]
        carrier = shot.prop.carrier(span, missing, self.reader, shot.network, shot.flashes) if missing else None
        left = set(missing)

        def one(frame: int) -> Frame:
            if carrier is None or frame not in left:
                return Frame(frame, shot.output.path(frame), "skipped", span.keys, None, 0.0)
            return self._carried(frame, span, carrier)

        yield from _in_order(self.reader, one, span.targets, shot.threads + 1)

    def _carried(self, frame: int, span: Span, carrier: Carrier) -> Frame:
        self.reader.check_cancelled()
        start = time.perf_counter()
        with telling(frame):
            values, confidence = carrier.carry(frame)
            result = self.shot.prop.carried_frame(frame, values, span, self.reader)
            notes = self._write(frame, result, confidence)
        return Frame(
            frame, self.shot.output.path(frame), "carried", span.keys, float(confidence.mean()),
            time.perf_counter() - start, notes,
        )  # fmt: skip

    def _write(self, frame: int, result: Result, confidence: Image | None) -> tuple[str, ...]:
        """Writes the confidence first: a result that is there has its confidence beside it."""
        shot = self.shot
        if shot.confidence is not None:
            path = shot.confidence.path(frame)
            path.parent.mkdir(parents=True, exist_ok=True)
            part = shot.plate.info.parts[shot.plate.part]
            if confidence is None:
                confidence = np.ones((part.height, part.width), np.float32)
            sure = {"Y": confidence.astype(np.float16)}  # grey in every host; other names most do not show
            write_plate(path, new_plate(sure, data_window=part.data_window, display_window=part.display_window))
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
        )
        return (*result.notes, *notes)


def done(shot: Shot, frame: int) -> bool:
    """Whether --skip-existing holds for a frame: what is asked for is there, whole and of the right size."""
    if not shot.request.skip_existing:
        return False
    wanted = shot.plate.info.parts[shot.plate.part]
    return _whole(shot.output.path(frame), shot.prop.output_part, wanted) and (
        shot.confidence is None or _whole(shot.confidence.path(frame), 0, wanted)
    )


def _whole(path: Path, part: int, wanted: PartInfo) -> bool:
    try:
        parts = inspect_plate(path).parts
    except PlateError:
        return False
    return part < len(parts) and (parts[part].width, parts[part].height) == (wanted.width, wanted.height)


def _in_order(reader: Reader, work: Callable[[int], Frame], items: Iterable[int], ahead: int) -> Iterator[Frame]:
    """Results in the order of the items, with so many under way that memory stays bounded."""
    waiting: deque[Future[Frame]] = deque()
    for item in items:
        waiting.append(reader.submit(work, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
