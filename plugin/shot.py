"""What is asked for, checked whole before any work starts: plate, keys, interval, frames, color, output."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from stpn.engine.cuts import Findings
from stpn.ocio.config import ColorError, load_config
from stpn.ocio.digest import Contents
from stpn.ocio.exr_attributes import COMPRESSIONS
from stpn.ocio.plate import PlateError
from stpn.ocio.sequence import Sequence, SequenceError
from stpn.plugin.adaptation_plan import MaskPlan, Plan, chosen_network, wanted, wrong_adaptation
from stpn.plugin.analysis import known_findings, seen_as
from stpn.plugin.cut_search import find_cuts, given_cuts, what_was_found
from stpn.plugin.device import choose_device
from stpn.plugin.footage import Footage
from stpn.plugin.frame_source import Files
from stpn.plugin.frames_on_disk import frames_there, inspected, refuse_missing
from stpn.plugin.kept_network import known_network
from stpn.plugin.keys import Span, frames_of, key_frames, serving_keys, spans
from stpn.plugin.memory import threads_within
from stpn.plugin.networks import Network, on_device, wrong_weights
from stpn.plugin.places import refuse_places
from stpn.plugin.properties.interface import Material, Property
from stpn.plugin.properties.kinds import chosen_method, wrong_kind, wrong_output
from stpn.plugin.properties.opening import open_property
from stpn.plugin.reading import Reader, RenderError
from stpn.plugin.request import DEVICES, KEYS_USED, METHODS, Request, RequestError, first_of, listed, one_line
from stpn.plugin.result_digest import DigestedFiles, ResultDigests


@dataclass(frozen=True)
class Shot:
    """A request that was found right, with everything that rendering needs.

    Attributes:
        request: as asked, with the method that was chosen.
        plate: what motion and cuts are told from.
        keys: where each key lies.
        prop: the property, which reads plate and keys and makes the results.
        output, confidence: where results go; `confidence` None: not written.
        frames: what to render, ascending.
        key_frames: ascending; each has a key file.
        cuts: first frames of new shots, ascending, as given or among the frames that motion would go through; no key
            serves across them.
        flashes: frames unlike both sides among those, ascending; none where cuts were given.
        device: what the network runs on.
        network: the weights, for the methods that have any.
        threads: how many at most.
        decisions: what was chosen and why, one line each, for people.
        adaptation: how the network is to be adapted before anything is rendered; None: not at all, or it is done.
        digests: what says of each result what it is made of.
        looked_at: the plate frames that motion may go through, in which cuts are looked for, ascending.
        seen: how the plate is looked at; see `stpn.plugin.analysis.seen_as`.
        contents: remembers digests of files as they were when they were read first.
    """

    request: Request
    plate: Footage
    keys: Files
    prop: Property
    output: Sequence
    confidence: Sequence | None
    frames: tuple[int, ...]
    key_frames: tuple[int, ...]
    cuts: tuple[int, ...]
    flashes: tuple[int, ...]
    device: str
    network: Network | None
    threads: int
    digests: ResultDigests
    decisions: tuple[str, ...] = field(default=())
    adaptation: Plan | MaskPlan | None = None
    looked_at: tuple[int, ...] = ()
    seen: Mapping[str, str] = field(default_factory=dict)
    contents: Contents = field(default_factory=Contents)

    def spans(self) -> list[Span]:
        """The frames to carry to, grouped by the keys that serve them."""
        return list(spans(self.frames, self.key_frames, self.request.keys_used, self.cuts))


def check(request: Request, *, look: bool = True) -> Shot:
    """Makes every check that can be made before work starts; writes nothing.

    Args:
        request: as asked.
        look: whether to read pixels too, of the plate for cuts and of the keys; nothing can be rendered without.

    Raises:
        RequestError: what is wrong, all of it that can be told at once.
    """
    request = replace(request, method=chosen_method(request))
    problems = wrong_options(request)
    if wrong_kind(request):  # whatever else may be wrong depends on it
        raise RequestError(*problems)
    try:
        shot = _checked(request, look=look and not problems)
    except RequestError as error:
        problems.extend(error.problems)
    if problems:
        raise RequestError(*dict.fromkeys(problems))
    return shot


def wrong_options(request: Request) -> list[str]:
    """What is wrong whatever the files hold."""
    problems = []
    for option, value, known in (
        ("--method", request.method, METHODS),
        ("--keys-used", request.keys_used, KEYS_USED),
        ("--device", request.device, DEVICES),
        ("--compression", request.compression, ("keep", *COMPRESSIONS)),
    ):
        if value not in known:
            problems.append(f"{option}: expected one of {', '.join(known)}, got {value!r}")
    if request.threads < 0:
        problems.append(f"--threads: expected 1 or more, or 0 for all processors, got {request.threads}")
    if not 0 <= request.memory < math.inf:
        problems.append(f"--memory: expected GiB, 0 or more, got {request.memory:g}")
    suffix = Path(request.output).suffix.lower()
    if request.compression != "keep" and suffix != ".exr":
        problems.append(
            f"--compression {request.compression}: expected an output of .exr, got {suffix or 'no extension'}; "
            "leave it out"
        )
    problems += wrong_kind(request) or wrong_weights(request) + wrong_adaptation(request)
    if request.device == "tensorrt" and request.adapt is not None:
        problems.append("--adapt: not with --device tensorrt, whose engines hold weights; use --device cuda or cpu")
    try:
        choose_device(request.device)
    except RequestError as error:
        problems.extend(error.problems)
    return problems


def _checked(request: Request, *, look: bool) -> Shot:
    """The shot; looks for cuts, which takes time, only where asked to."""
    try:
        contents = Contents()
        plate_files, key_files = (DigestedFiles(p, contents) for p in (request.plate, request.keys))
        output = Files(request.output)
        confidence = Sequence(request.confidence) if request.confidence else None
    except SequenceError as error:
        raise RequestError(str(error)) from error
    plate_on_disk, keys_on_disk = frames_there(plate_files, "plate"), frames_there(key_files, "key")
    cuts = given_cuts(request.cuts)
    frames, keys = _frames(request, plate_files, key_files, plate_on_disk, keys_on_disk, cuts or ())
    adapt = wanted(request, output, key_files, plate_on_disk, keys_on_disk) if look else None
    all_keys = sorted({*keys, *adapt.keys_read}) if adapt else keys
    reached = {f for span in spans(frames, keys, request.keys_used, cuts or ()) for f in span.reach}
    crossed = sorted(reached.union(adapt.reach if adapt else ()))
    needed = sorted({*frames, *crossed, *(adapt.plates_read if adapt else ())})
    refuse_missing(needed, plate_on_disk, plate_files, "plate", "; motion needs every frame from a key to its frames")
    threads = request.threads if request.threads > 0 else os.cpu_count() or 1
    inputs = {"--plate": (plate_files, plate_on_disk), "--keys": (key_files, keys_on_disk)}
    refuse_places(inputs, {"--output": output, "--confidence": confidence}, frames, wrong_output(request))

    infos = inspected([plate_files.path(f) for f in needed] + [key_files.path(k) for k in all_keys], threads)
    plate_infos, key_infos = infos[: len(needed)], infos[len(needed) :]
    try:
        config = load_config(request.ocio)
        opened = open_property(Material(request, config, plate_files, key_files, plate_infos, key_infos))
    except (ColorError, PlateError) as error:
        raise RequestError(str(error)) from error
    if opened.problems:
        raise RequestError(*first_of(list(opened.problems)))
    plate, prop = opened.plate, opened.prop
    part = plate.info.parts[plate.part]
    if 0 <= request.memory < math.inf:  # else it was told already
        threads = threads_within(request.memory, threads, part.width, part.height)
    device, why_device = choose_device(request.device)
    found = Findings(cuts or (), ())
    with ThreadPoolExecutor(1, thread_name_prefix="stpn-network") as aside:  # torch is imported while cuts are found
        loading = aside.submit(chosen_network, request, adapt)
        if look and request.analysis is not None:
            found = known_findings(request, plate, crossed, contents, threads)
        elif look and cuts is None:
            found = _found(plate, crossed, plate_on_disk, threads)
        network, why_network = loading.result()
    if device == "tensorrt" and network is not None and look:
        network = on_device(network, device, part.height, part.width)
    if look and cuts is None:
        keys = _within_shots(frames, keys, found.cuts, request, key_files)
    if look:
        looked_at = tuple(sorted({*keys, *(adapt.keys_read if adapt else ())}))
        _look_at_keys(prop, looked_at, list(spans(frames, keys, request.keys_used, found.cuts)), inputs, threads)
    said = what_was_found(found, asked=request.cuts, looked=bool(crossed))
    if look and request.analysis is not None:
        said.append(f"analysis: {request.analysis} is of this plate, which is not searched again")
    plan = adapt.plan(request, found.cuts, plate) if adapt else None
    if plan is not None:
        why_network.append(plan.said)
    adapted = plan if isinstance(plan, MaskPlan) else None
    digests = ResultDigests(request, prop, plate_files, key_files, contents, adapted)
    if look and adapted is not None and request.analysis is not None:
        network, plan, why_network = known_network(request, digests, network, adapted, why_network)
    return Shot(
        request, plate, key_files, prop, output, confidence, frames, keys, found.cuts, found.flashes, device, network,
        threads, digests,
        tuple(map(one_line, (
            f"config: {config.origin}", *opened.decisions, *said, f"device: {why_device}", *why_network
        ))), plan,
        tuple(crossed), seen_as(request, plate), contents,
    )  # fmt: skip


def _frames(
    request: Request, plate: Sequence, keys: Sequence, plate_on_disk: list[int], keys_on_disk: list[int],
    cuts: tuple[int, ...],
) -> tuple[tuple[int, ...], tuple[int, ...]]:  # fmt: skip
    """The frames to render and the key frames, each on disk and each in reach."""
    wanted = frames_of(request.frames, "--frames") if request.frames is not None else None
    frames = wanted if wanted is not None else tuple(range(plate_on_disk[0], plate_on_disk[-1] + 1))
    refuse_missing(frames, plate_on_disk, plate, "plate")
    asked = key_frames(request, plate_on_disk, keys_on_disk)
    used, unserved = serving_keys(frames, asked, request.keys_used, cuts)
    # where a chunk is rendered, no more of the plate need be there than that chunk takes
    concerned = asked if wanted is None else used
    outside = [k for k in concerned if not plate_on_disk[0] <= k <= plate_on_disk[-1]]
    if outside:
        raise RequestError(
            f"{keys.pattern}: expected keys within the plate's frames {plate_on_disk[0]}-{plate_on_disk[-1]}, got "
            f"{listed(outside)}; name the keys with --key-frames"
        )
    refuse_missing(used, keys_on_disk, keys, "key")
    _refuse_unserved(unserved, request.keys_used, cuts, keys)
    return frames, used


def _within_shots(
    frames: tuple[int, ...], keys: tuple[int, ...], cuts: tuple[int, ...], request: Request, files: Sequence
) -> tuple[int, ...]:
    """The keys that serve frames of their own shot, or are rendered; every frame has one."""
    used, unserved = serving_keys(frames, keys, request.keys_used, cuts)
    _refuse_unserved(unserved, request.keys_used, cuts, files)
    return used


def _refuse_unserved(unserved: tuple[int, ...], used: str, cuts: tuple[int, ...], keys: Sequence) -> None:
    if not unserved:
        return
    if cuts:
        raise RequestError(
            f"{keys.pattern}: expected a key in every shot (--keys-used {used}), there is none for {listed(unserved)}: "
            f"new shots begin at {listed(cuts)}; paint a key there, or give --cuts none to take keys of other shots"
        )
    raise RequestError(
        f"{keys.pattern}: expected a key before or after every frame (--keys-used {used}), "
        f"there is none for {listed(unserved)}; use --keys-used both, or render fewer --frames"
    )


def _look_at_keys(
    prop: Property, keys: tuple[int, ...], groups: list[Span], inputs: Mapping[str, tuple[Files, list[int]]],
    threads: int,
) -> None:  # fmt: skip
    """Raises RequestError where the pixels of a key are none of the property."""
    with ThreadPoolExecutor(threads, thread_name_prefix="stpn-check") as pool:
        reader = Reader(inputs["--plate"][0], inputs["--keys"][0], threading.Event(), pool)
        try:
            problems = prop.wrong_keys(keys, groups, reader)
        except RenderError as error:
            raise RequestError(str(error)) from error
    if problems:
        raise RequestError(*first_of(problems))


def _found(plate: Footage, frames: list[int], there: list[int], threads: int) -> Findings:
    if not frames:
        return Findings((), ())
    try:
        return find_cuts(plate, frames, there, threads)
    except PlateError as error:
        raise RequestError(str(error)) from error
