"""What the frames between two keys of a node share: property, keys, cuts, motion; made once and asked often."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from stpn.engine.carriers import Carrier
from stpn.engine.cuts import Findings
from stpn.engine.working_size import working_factor
from stpn.ocio.config import Config, load_config
from stpn.plugin.cut_search import find_cuts, given_cuts
from stpn.plugin.device import choose_device
from stpn.plugin.footage import Footage
from stpn.plugin.keys import Span, serving
from stpn.plugin.live_job import Job, changed
from stpn.plugin.live_pictures import HostFrames, PictureInfo
from stpn.plugin.networks import Network, load_weights, on_device, weights_file
from stpn.plugin.properties.interface import Material, Property, Result
from stpn.plugin.properties.kinds import chosen_method
from stpn.plugin.properties.opening import open_property
from stpn.plugin.reading import Reader
from stpn.plugin.request import Request, RequestError, first_of, listed
from stpn.plugin.shot import wrong_options

T = TypeVar("T")
Ready = tuple[Span, Carrier]
Image = NDArray[np.float32]
Pictures = Mapping[str, tuple[PictureInfo, Mapping[str, NDArray[Any]]]]
Pools = tuple[ThreadPoolExecutor, ThreadPoolExecutor]
Progress = Callable[[float, str], None]
"""Told how far a job is, 0..1, and what it does."""

# values that change what is shown of a frame, not what the frames of a span share
_OF_A_FRAME = frozenset({"output", "mix"})
# why a color space was taken, where a file would have said more
_FILES_SAY = re.compile(r"(EXR|TIFF of integers) without color attributes")
_NEVER = threading.Event()
# missing frames that are looked for; a sentence names fewer
_MOST_NAMED = 1000
# bytes of motion that each target keeps a pixel and a key: two flows, two routes would be twice that
_MOTION_BYTES = 16


class LiveSpan:
    """The frames around which a job's keys lie; `lock` is held by whoever prepares it."""

    def __init__(self, job: Job, pictures: Pictures, most: int, pools: Pools):
        """Reads nothing yet.

        Args:
            job: any of the span.
            pictures: those of the job, by ID.
            most: bytes that motion may take which frames share; where it would be more, each frame makes its own.
            pools: two, for work and for work within it.
        """
        self.lock = threading.Lock()
        self.pictures = {name: pictures[name] for name in {*job.sources.values(), *job.keys.values()}}
        self._job, self._files, self._most = job, job.files, most
        self._sources = _frames("Source", job.sources, pictures, job, keys=False)
        self._keys = _frames("Keys", job.keys, pictures, job, keys=True)
        self._reader = _CountingReader(self._sources, self._keys, pools)
        self._prop: Property | None = None
        self._plate: Footage | None = None
        self._network: Network | None = None
        self._found: Findings | None = None
        self._carriers: dict[tuple[int | None, int | None], Ready] = {}
        self._last: tuple[int, Result, Image] | None = None
        self.decisions: tuple[str, ...] = ()

    def serves(self, job: Job) -> bool:
        """Whether a job can be made of what is here: the same keys, plate frames and values."""
        mine = self._job
        return (
            not (job.is_key or mine.is_key)
            and dict(job.keys) == dict(mine.keys)
            and job.sources.items() <= mine.sources.items()
            and (job.colorspace, job.keys_colorspace) == (mine.colorspace, mine.keys_colorspace)
            and job.request() == mine.request()
            and job.files == self._files
        )

    def prepare(self, frame: int, cancelled: threading.Event, progress: Progress) -> Ready | None:
        """Makes what a frame needs, where it is not there yet; `lock` is held.

        Returns:
            What `carried` takes; None for a key frame.

        Raises:
            RequestError, RenderError, PlateError, ColorError, Cancelled: see `stpn.plugin.live_render`.
        """
        self._reader.hear(cancelled, progress, expected=3 * len(self._job.sources))
        try:
            if self._prop is None:
                self._open()
            if self._job.is_key:
                return None
            around = self._around(frame)
            if around not in self._carriers or frame not in self._carriers[around][0].targets:
                self._carriers[around] = self._carrier(around, frame)
            return self._carriers[around]
        finally:
            # what goes on is one frame's work, which whoever comes next is glad to find done
            self._reader.hear(_NEVER, lambda *_: None, expected=1)

    def carried(self, frame: int, ready: Ready) -> tuple[Result, Image]:
        """A frame that was prepared, and its confidence (H, W); the last one is kept, for other mixes and outputs."""
        assert self._prop is not None
        last = self._last
        if last is not None and last[0] == frame:
            return last[1:]
        span, carrier = ready
        values, confidence = carrier.carry(frame)
        result = self._prop.carried_frame(frame, values, span, self._reader)
        self._last = frame, result, confidence
        return result, confidence

    def key(self, frame: int) -> Result:
        """A key frame."""
        assert self._prop is not None
        return self._prop.key_frame(frame, self._reader)

    def _open(self) -> None:
        request = self._job.request()
        method = chosen_method(request)
        request = Request(**{**vars(request), "method": method})
        problems = wrong_options(request)
        if problems:
            raise RequestError(*problems)
        infos = [[source.info(frame) for frame in sorted(source.pictures)] for source in (self._sources, self._keys)]
        config = _config(request.ocio)
        opened = open_property(Material(request, config, self._sources, self._keys, *infos))
        if opened.problems:
            raise RequestError(*first_of(list(opened.problems)))
        if method == "stpn" or self._job.is_key:
            cuts = given_cuts(request.cuts) or ()
            self._found = Findings(cuts, ())
        else:
            frames = sorted(self._job.sources)
            between = range(frames[0], frames[-1] + 1)  # as long as somebody's typing error makes it
            missing = list(islice((frame for frame in between if frame not in self._job.sources), _MOST_NAMED))
            if missing:
                raise RequestError(
                    f"Source: expected every frame from {frames[0]} to {frames[-1]}, which motion goes through, "
                    f"got none at {listed(missing)}"
                )
            given = given_cuts(request.cuts)
            self._found = Findings(given, ()) if given is not None else find_cuts(opened.plate, frames, frames, 2)
        self._network = (
            None if self._job.is_key else _network(request, self._job.pictures[self._job.sources[self._job.frame]])
        )
        groups = [] if self._job.is_key else [self._serving(self._job.frame)]
        wrong = opened.prop.wrong_keys(tuple(self._job.keys), groups, self._reader)
        if wrong:
            raise RequestError(*first_of(wrong))
        self._prop, self._plate = opened.prop, opened.plate
        said = (_FILES_SAY.sub("of which the host says nothing", one) for one in opened.decisions)
        self.decisions = (f"config: {config.origin}", *said, f"device: {choose_device(request.device)[1]}")
        if self._found.cuts:
            self.decisions += (f"cuts: new shots begin at {listed(self._found.cuts)}",)

    def _around(self, frame: int) -> tuple[int | None, int | None]:
        span = self._serving(frame)
        return span.before, span.after

    def _serving(self, frame: int) -> Span:
        assert self._found is not None
        before, after = serving(frame, tuple(self._job.keys), "both", self._found.cuts)
        if before is None and after is None:
            raise RequestError(
                f"Keys: expected a key in the shot of frame {frame}, there is none: new shots begin at "
                f"{listed(self._found.cuts)}; paint a key there, or set Cuts to none to take keys of other shots"
            )
        return Span(before, after, (frame,))

    def _carrier(self, around: tuple[int | None, int | None], frame: int) -> Ready:
        """For all frames between the keys, as far as memory goes, else for the frame alone."""
        assert self._prop is not None
        assert self._found is not None
        between = [f for f in self._job.sources if f not in self._job.keys and self._around(f) == around]
        info = self._job.pictures[self._job.sources[frame]]
        pixels = info.width * info.height // working_factor(info.height, info.width) ** 2
        kept = len(between) * pixels * _MOTION_BYTES * sum(key is not None for key in around)
        targets = tuple(between) if kept <= self._most else (frame,)
        span = Span(*around, targets)
        return span, self._prop.carrier(span, targets, self._reader, self._network, self._found.flashes)


class _CountingReader(Reader):
    """Tells how many of the things that are done side by side are done."""

    def __init__(self, plate: HostFrames, keys: HostFrames, pools: Pools) -> None:
        super().__init__(plate, keys, _NEVER, *pools)
        self._progress: Progress = lambda *_: None
        self._done, self._expected = 0, 1

    def hear(self, cancelled: threading.Event, progress: Progress, expected: int) -> None:
        """Whom to listen to and to tell from now on; how many things there will be, roughly."""
        self.cancelled, self._progress = cancelled, progress
        self._done, self._expected = 0, max(1, expected)

    def parallel(self, function: Callable[..., T], items: Iterable[Any]) -> Iterable[T]:
        """See `Reader`."""

        def counted(*item: Any) -> T:
            made = function(*item)
            self._done += 1
            self._progress(min(0.9, 0.9 * self._done / self._expected), "motion")
            return made

        return super().parallel(counted, items)


def _frames(name: str, frames: Mapping[int, str], pictures: Pictures, job: Job, *, keys: bool) -> HostFrames:
    """One input as a source of frames, read as the job's property takes it."""
    prop = job.values["property"]
    numbers = ""
    if prop == "channels":
        numbers = "unit"
    elif keys and job.values.get("mask_labels") == "1":
        numbers = "whole"
    mattes = keys and prop in ("mask", "channels")
    return HostFrames(name, {frame: pictures[one] for frame, one in frames.items()}, mattes, numbers)


def _config(path: str | None) -> Config:
    """A config that was read once, until its file changes."""
    return _config_at(path, changed(path))


@lru_cache(maxsize=8)
def _config_at(path: str | None, changed: int) -> Config:
    return load_config(path)


def _network(request: Request, info: PictureInfo) -> Network | None:
    path = weights_file(request)
    if path is None:
        return None
    device, _ = choose_device(request.device)
    size = (info.height, info.width) if device == "tensorrt" else (0, 0)  # elsewhere one serves all sizes
    return _network_of(request.property, request.method, path, changed(str(path)), device, size)


@lru_cache(maxsize=8)
def _network_of(prop: str, method: str, path: Path, changed: int, device: str, size: tuple[int, int]) -> Network:
    return on_device(load_weights(Request("", "", "", property=prop, method=method), path), device, *size)
