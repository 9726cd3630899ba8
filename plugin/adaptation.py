"""Adapting the network for color to a shot's own keys, before anything is rendered."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from stpn.engine.aligned_network import AlignedFusion
from stpn.engine.training.adaptation import Adapted, Amount, Moment, Settings, Stopped, adapt
from stpn.engine.training.adaptation_material import Triple
from stpn.engine.working_size import reduced
from stpn.plugin.adaptation_plan import Plan
from stpn.plugin.adapted_file import Record, options_of, read_record, write_adapted
from stpn.plugin.device import torch_threads
from stpn.plugin.memory import return_free_memory
from stpn.plugin.networks import load_weights
from stpn.plugin.progress import Status
from stpn.plugin.properties.color import Color
from stpn.plugin.properties.lightness import seen, working_factor_of
from stpn.plugin.reading import Cancelled, Reader, RenderError
from stpn.plugin.request import RequestError
from stpn.plugin.shot import Shot

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
    assert isinstance(plan, Plan)
    assert isinstance(network, AlignedFusion)
    assert isinstance(shot.prop, Color)
    with ThreadPoolExecutor(shot.threads, thread_name_prefix="stpn-adapt") as pool, torch_threads(shot.threads):
        reader = Reader(shot.plate.files, shot.keys, cancelled, pool)
        found = _found(plan, network, shot.prop, reader, status)
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
        taken = load_weights(shot.request, plan.path)
    except (OSError, RequestError) as error:
        raise RenderError(f"--adapt: {error}") from error
    if status is not None:
        status.say(said)
    return replace(shot, network=taken, adaptation=None, decisions=(*shot.decisions, said))


def _found(plan: Plan, network: AlignedFusion, prop: Color, reader: Reader, status: Status | None) -> Adapted:
    def report(moment: Moment) -> None:
        if status is not None:
            status.show(_in_words(moment, plan))

    try:
        return adapt(
            network,
            (_triple(frame, plan.serving[frame], prop, reader) for frame in plan.division.frames),
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


def _triple(frame: int, serving: tuple[int, ...], prop: Color, reader: Reader) -> Triple:
    """A key, its neighbours, and the lightness of the plate from first to last, as motion sees it."""
    keys, factor = sorted((frame, *serving)), working_factor_of(prop.plate)
    found = seen(range(keys[0], keys[-1] + 1), keys, prop.plate, prop.working, reader, factor)
    props = {key: reduced(prop.read_key(key, found.at_keys[key], reader), factor) for key in keys}
    return Triple(frame, serving, found.lightness, props, reduced=factor > 1)


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
