"""Where new shots begin in a plate, and which frames are flashes: reads the plate's frames, small."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from stpn.engine.cuts import SIDE, WINDOW, Findings, cut_guide, search
from stpn.engine.stages import stage
from stpn.engine.working_size import reduced
from stpn.ocio.cielab import luminance_of
from stpn.ocio.plate import Plate
from stpn.plugin.footage import Footage
from stpn.plugin.keys import frames_of
from stpn.plugin.properties.lightness import luminance, working_factor_of
from stpn.plugin.request import RequestError, listed

Image = NDArray[np.float32]
Guide8 = NDArray[np.uint8]

# motion cannot be told from less
_SHORTEST = 32


def given_cuts(asked: str) -> tuple[int, ...] | None:
    """The first frames of new shots as --cuts gives them; None where they are to be found.

    Raises:
        RequestError: neither auto, nor none, nor a range of frames.
    """
    if asked == "auto":
        return None
    if asked == "none":
        return ()
    try:
        return frames_of(asked, "--cuts")
    except RequestError as error:
        raise RequestError(*(f"{problem}; or type auto or none" for problem in error.problems)) from error


def what_was_found(findings: Findings, *, asked: str, looked: bool) -> list[str]:
    """The decision on cuts in words, one line each.

    Args:
        findings: what was found or given.
        asked: what --cuts says.
        looked: whether there was anything to look at.
    """
    if asked == "none":
        return ["cuts: none, by --cuts"]
    if asked != "auto":
        return [f"cuts: new shots begin at {listed(findings.cuts)}, by --cuts"]
    if not looked:
        return ["cuts: not looked for, no frame takes anything from another"]
    cuts = f"new shots begin at {listed(findings.cuts)}" if findings.cuts else "none found"
    said = [f"cuts: {cuts}"]
    if findings.flashes:
        said.append(f"flashes: {listed(findings.flashes)}, unlike the frames on both sides")
    return said


def find_cuts(plate: Footage, frames: Sequence[int], there: Collection[int], threads: int) -> Findings:
    """Looks for cuts and flashes between neighbouring frames.

    Args:
        plate: the plate.
        frames: the frames that motion goes through, ascending; all are there and of one size.
        there: all frames that there are. Those around `frames` are read where a cut must be told from a flash at the
            edge, so that a chunk of a shot finds what the whole shot finds.
        threads: how many frames to read at once; no more than a few are in memory.

    Raises:
        PlateError: a frame cannot be read.
    """
    # the motion that tells shots apart must not depend on how many threads there are
    cv2.setNumThreads(1)
    with _Guides(plate, frames, frozenset(there), threads) as guides:
        return search(frames, guides)


def small_luminance(plate: Plate, footage: Footage, side: int, shortest: int = _SHORTEST) -> Image:
    """Luminance of a plate frame, averaged by area; not enlarged.

    Args:
        plate: the frame.
        footage: how its color is read.
        side: long side in pixels.
        shortest: what the short side has at least, even if the long one then exceeds `side`.

    Returns:
        (h, w) float32, white = 1; a pixel that is no number takes those around it with it.
    """
    image = _smaller(plate.color(footage.part), side, shortest)
    footage.space.decode(image)
    return luminance_of(image, footage.space)


def _smaller(image: Image, side: int, shortest: int) -> Image:
    height, width = image.shape[:2]
    scale = max(side / max(height, width), shortest / min(height, width))
    if scale >= 1:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


class _Guides:
    """Guides of frames by number, read ahead in their order by several threads and soon forgotten."""

    def __init__(self, plate: Footage, frames: Sequence[int], there: frozenset[int], threads: int) -> None:
        self._plate, self._there = plate, there
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="stpn-cuts")
        self._ahead: deque[tuple[int, Future[Guide8 | None]]] = deque()
        self._left = iter(frames)
        self._most = threads + 1
        self._known: dict[int, Guide8 | None] = {}

    def __enter__(self) -> _Guides:
        self._submit(self._most)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __call__(self, frame: int) -> Guide8 | None:
        """The guide of a frame; None where there is no such frame."""
        while frame not in self._known and self._ahead and self._ahead[0][0] <= frame:
            number, future = self._ahead.popleft()
            self._keep(number, future.result())
            self._submit(1)
        if frame not in self._known:
            self._keep(frame, self._read(frame) if frame in self._there else None)
        return self._known[frame]

    def _submit(self, count: int) -> None:
        for frame in islice(self._left, count):
            self._ahead.append((frame, self._pool.submit(self._read, frame)))

    def _keep(self, frame: int, guide: Guide8 | None) -> None:
        self._known[frame] = guide
        if len(self._known) > 4 * WINDOW:
            del self._known[next(iter(self._known))]

    def _read(self, frame: int) -> Guide8 | None:
        with stage("read"):
            plate = self._plate.files.read(frame)
        if self._plate.part >= len(plate.info.parts):
            return None
        part, first = plate.info.parts[self._plate.part], self._plate.info.parts[self._plate.part]
        if (part.width, part.height) != (first.width, first.height):
            return None
        factor = working_factor_of(self._plate)
        with stage("cuts"):
            if factor == 1:
                return cut_guide(small_luminance(plate, self._plate, SIDE))
            seen = reduced(luminance(plate, self._plate), factor)
            self._plate.previews.put(frame, seen)
            return cut_guide(_smaller(seen, SIDE, _SHORTEST))
