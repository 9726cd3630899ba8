"""Adapting the network to a shot's own keys, before anything is rendered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stpn.engine.aligned_network import AlignedFusion
from stpn.engine.training.adaptation import Adapted, Amount, Moment, Settings, Stopped, adapt
from stpn.engine.training.adaptation_material import Triple
from stpn.ocio.plate import read_plate
from stpn.plugin import color
from stpn.plugin.adaptation_plan import Plan
from stpn.plugin.adapted_file import Record, options_of, read_record, write_adapted
from stpn.plugin.memory import return_free_memory
from stpn.plugin.networks import load_weights
from stpn.plugin.progress import Status
from stpn.plugin.render import Cancelled, RenderError, telling
from stpn.plugin.request import RequestError
from stpn.plugin.shot import Shot

Image = NDArray[np.float32]

SETTINGS = Settings()


def adapted(shot: Shot, cancelled: threading.Event, status: Status | None = None) -> Shot:
    """The shot with the network that its plan asks for, which is also written beside the output.

    Two runs that start at once both adapt; the second to end takes the weights of the first.

    Args:
        shot: with a plan.
        cancelled: set it to stop; nothing is written then.
        status: where to say how far it is.

    Raises:
        RenderError: a frame cannot be read, or the weights cannot be written.
        Cancelled: `cancelled` was set.
    """
    plan, network = shot.adaptation, shot.network
    assert plan is not None
    assert isinstance(network, AlignedFusion)
    with ThreadPoolExecutor(shot.threads, thread_name_prefix="stpn-adapt") as pool, _torch_threads(shot.threads):
        found = _found(plan, network, _Reader(shot, cancelled, pool), status)
    return_free_memory()
    if cancelled.is_set():
        raise Cancelled
    plate, options = Path(shot.request.plate).name, options_of(shot.request)
    record = Record(plan.base, plate, plan.keys, options, found.steps, found.before, found.after, found.kept)
    try:
        earlier = read_record(plan.path)
        if earlier is not None and (earlier.base, earlier.keys, earlier.options) == (plan.base, plan.keys, options):
            said = f"adapt: another run wrote {plan.path.name} meanwhile, which is used ({earlier.verdict})"
        else:
            write_adapted(plan.path, found.network, record)
            said = f"adapt: {record.verdict}; {plan.path}"
        taken = load_weights(shot.request.method, plan.path)
    except (OSError, RequestError) as error:
        raise RenderError(f"--adapt: {error}") from error
    if status is not None:
        status.say(said)
    return replace(shot, network=taken, adaptation=None, decisions=(*shot.decisions, said))


def _found(plan: Plan, network: AlignedFusion, reader: _Reader, status: Status | None) -> Adapted:
    def report(moment: Moment) -> None:
        if status is not None:
            status.show(_in_words(moment, plan))

    try:
        return adapt(
            network,
            (reader.triple(frame, plan.serving[frame]) for frame in plan.division.frames),
            plan.division,
            Amount(plan.steps, plan.seconds),
            settings=SETTINGS,
            parallel=reader.parallel,
            report=report,
            stop=reader.cancelled.is_set,
        )
    except Stopped as stopped:
        raise Cancelled from stopped
    finally:
        if status is not None:
            status.close()


class _Reader:
    """Reads keys and plate frames as a render does."""

    def __init__(self, shot: Shot, cancelled: threading.Event, pool: ThreadPoolExecutor) -> None:
        self.shot, self.cancelled, self._pool = shot, cancelled, pool

    def triple(self, frame: int, serving: tuple[int, ...]) -> Triple:
        """A key, its neighbours, and the lightness of the plate from the first to the last of these."""
        keys = sorted((frame, *serving))
        frames = range(keys[0], keys[-1] + 1)
        luminances = dict(zip(frames, self.parallel(self._luminance, frames), strict=True))
        factor = color.exposure([luminances[key] for key in keys])
        props = {key: self._property(key, luminances[key]) for key in keys}
        lightness = {f: color.lightness(luminances.pop(f), factor, self.shot.working) for f in frames}
        return Triple(frame, serving, lightness, props)

    def parallel(self, function: Callable[..., Image], items: Iterable[Any]) -> Iterable[Image]:
        """Like `map`, side by side, until somebody asks to stop."""
        return self._pool.map(partial(self._unless_cancelled, function), items)

    def _unless_cancelled(self, function: Callable[..., Image], item: Any) -> Image:
        if self.cancelled.is_set():
            raise Cancelled
        return function(item)

    def _luminance(self, frame: int) -> Image:
        with telling(frame):
            return color.luminance(read_plate(self.shot.plate.files.path(frame)), self.shot)

    def _property(self, key: int, plate_luminance: Image) -> Image:
        with telling(key):
            return color.key_property(read_plate(self.shot.keys.files.path(key)), plate_luminance, self.shot)


def _in_words(moment: Moment, plan: Plan) -> str:
    done, total = moment.done, moment.total
    if moment.what == "motion":
        return f"adapting: motion around key {plan.division.frames[done]}, {done + 1} of {total}"
    if moment.what == "checking":
        return f"adapting: checking on keys held aside, {done + 1} of {total}"
    if moment.seconds_left is None:
        return f"adapting: step {done}  loss {moment.loss:.4g}"
    left = round(moment.seconds_left)
    return f"adapting: step {done}/{total}  loss {moment.loss:.4g}  {left // 60}:{left % 60:02d} left"


@contextmanager
def _torch_threads(count: int) -> Iterator[None]:
    """So many threads for torch, and then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
