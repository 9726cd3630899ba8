"""Single frames of a node, on demand: what the frames of a span share is made once and kept while it is scrubbed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stpn.plugin.live_job import Job
from stpn.plugin.live_output import output
from stpn.plugin.live_span import Image, LiveSpan, Pictures, Progress, Ready
from stpn.plugin.properties.interface import Result
from stpn.plugin.reading import Cancelled, telling
from stpn.plugin.request import RequestError

_SPANS_KEPT = 4
# of the memory that pictures may take, what motion may take that frames of a span share
_SHARED_PART = 4


@dataclass(frozen=True)
class Rendered:
    """What became of a job.

    Attributes:
        planes: (H, W) by channel, in the type that was wanted.
        confidence: mean over the picture, 0..1.
        seconds: that it took.
        notes: what was decided, one line each.
    """

    planes: dict[str, NDArray[Any]]
    confidence: float
    seconds: float
    notes: tuple[str, ...]


class Renderer:
    """Renders jobs; safe to call from several threads.

    What comes out is bit for bit what `stpn propagate` makes of the same frames.
    """

    def __init__(self, memory: int) -> None:
        """Takes how many bytes pictures may take; motion may take a part of that besides."""
        import cv2
        import torch

        # as `stpn.plugin.render` has it: results must not depend on how many threads there are
        cv2.setNumThreads(1)
        torch.set_num_threads(1)
        count = os.cpu_count() or 1
        self._most = memory // _SHARED_PART // _SPANS_KEPT
        self._pools = (
            ThreadPoolExecutor(count, thread_name_prefix="stpn-live"),
            ThreadPoolExecutor(count, thread_name_prefix="stpn-live-within"),
        )
        self._working = threading.Semaphore(count)
        self._spans: list[LiveSpan] = []  # the one that was asked for last at the end
        self._used: list[LiveSpan] = []  # once for each job; those among them that are kept no more are read, too
        self._lock = threading.Lock()

    def close(self) -> None:
        """Ends all threads."""
        for pool in self._pools:
            pool.shutdown(cancel_futures=True)

    def in_use(self) -> set[str]:
        """IDs of the pictures that are read by what is kept; their memory must stay as it is."""
        with self._lock:
            return {name for span in (*self._spans, *self._used) for name in span.pictures}

    def forget(self) -> bool:
        """Lets go of the span that was not asked for longest and that nobody uses; whether there was one."""
        with self._lock:
            idle = next((span for span in self._spans if span not in self._used), None)
            if idle is not None:
                self._spans.remove(idle)
        return idle is not None

    def render(self, job: Job, pictures: Pictures, cancelled: threading.Event, progress: Progress) -> Rendered:
        """Renders a frame.

        Args:
            job: what is asked for.
            pictures: each picture of the job by its ID; they must stay as they are while this runs, and for as long as
                `in_use` names them.
            cancelled: set to stop.
            progress: told how far it is.

        Raises:
            RequestError: what is wrong with the job.
            RenderError, PlateError, ColorError: the frame cannot be made.
            Cancelled: somebody asked to stop.
        """
        source = pictures[job.sources[job.frame]][1]
        matte = None
        if job.matte is not None:
            planes = pictures[job.matte][1]
            matte = planes.get("A", next(iter(planes.values())))
            (height, width), (tall, wide) = next(iter(source.values())).shape, matte.shape
            if (height, width) != (tall, wide):
                raise RequestError(f"Matte: expected {width} x {height} pixels as the Source has, got {wide} x {tall}")
        with self._turn(cancelled), self._span(job, pictures) as span:
            start = time.perf_counter()
            ready = self._prepared(span, job, cancelled, progress)
            with telling(job.frame):
                confidence = None
                if ready is None:
                    result = span.key(job.frame)
                else:
                    progress(0.9, f"frame {job.frame}")
                    result, confidence = _carried(span, job.frame, ready, cancelled)
                made = output(job, result, confidence, source, matte)
        sure = 1.0 if confidence is None else float(np.mean(confidence))
        return Rendered(made, sure, time.perf_counter() - start, (*span.decisions, *result.notes))

    @contextmanager
    def _turn(self, cancelled: threading.Event) -> Iterator[None]:
        """As many frames are worked on at once as there are processors."""
        _acquire(self._working, cancelled)
        try:
            yield
        finally:
            self._working.release()

    @contextmanager
    def _span(self, job: Job, pictures: Pictures) -> Iterator[LiveSpan]:
        """What a job shares with others, while it is used; a key frame shares nothing."""
        with self._lock:
            span = next((one for one in self._spans if one.serves(job)), None)
            if span is None:
                span = LiveSpan(job, pictures, self._most, self._pools)
            else:
                self._spans.remove(span)
            if not job.is_key:
                self._spans.append(span)
            self._used.append(span)
        try:
            yield span
        finally:
            with self._lock:
                self._used.remove(span)
                idle = [one for one in self._spans if one not in self._used]
                for one in idle[: max(0, len(self._spans) - _SPANS_KEPT)]:
                    self._spans.remove(one)

    def _prepared(self, span: LiveSpan, job: Job, cancelled: threading.Event, progress: Progress) -> Ready | None:
        """By whoever comes first; the others wait, and find it done."""
        _acquire(span.lock, cancelled)
        try:
            return span.prepare(job.frame, cancelled, progress)
        except BaseException:
            with self._lock:
                if span in self._spans:
                    self._spans.remove(span)
            raise
        finally:
            span.lock.release()


def _carried(span: LiveSpan, frame: int, ready: Ready, cancelled: threading.Event) -> tuple[Result, Image]:
    """A frame of a span, whose other jobs may be given up: what reads for all of them tells everybody so."""
    while not cancelled.is_set():
        try:
            return span.carried(frame, ready)
        except Cancelled:
            cancelled.wait(0.05)
    raise Cancelled


def _acquire(lock: threading.Lock | threading.Semaphore, cancelled: threading.Event) -> None:
    """Waits for a lock until somebody asks to stop."""
    while not lock.acquire(timeout=0.05):
        if cancelled.is_set():
            raise Cancelled
