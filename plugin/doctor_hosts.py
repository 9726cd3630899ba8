"""What `stpn doctor` says of hosts: which have the node, whether it is that of this installation, whether it starts."""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Iterator

from stpn.plugin.doctor import WARNING, Finding
from stpn.plugin.hosts.places import HOSTS
from stpn.plugin.hosts.placing import Placed, installation_name, states

_TALK_TO_THE_WORKER = ("ofx", "comfyui")


def hosts() -> Iterator[Finding]:
    """One finding for each plugin that was put somewhere, and one for the worker if any of them needs it."""
    found = list(states())
    if not found:
        names = ", ".join(HOSTS)
        yield Finding("hosts", "installed", "none; python3 install.py puts the node into one of " + names)
        return
    for placed, problem in found:
        title = HOSTS[placed.host].title
        problem = problem or (_loads(placed) if placed.host == "ofx" else "")
        if problem:
            advice = f"run: python3 install.py {placed.host} --to {placed.folder.parent}, or uninstall {placed.host}"
            yield Finding("hosts", title, f"{placed.folder} {problem}", WARNING, advice)
        else:
            yield Finding("hosts", title, str(placed.folder))
    if any(placed.host in _TALK_TO_THE_WORKER and not problem for placed, problem in found):
        yield _worker()


def _loads(placed: Placed) -> str:
    """What is wrong with a bundle, as a host finds it; "": nothing."""
    binaries = sorted(placed.folder.glob("Contents/*/*.ofx"))
    if not binaries:
        return "has no binary"
    try:
        count = ctypes.CDLL(str(binaries[0])).OfxGetNumberOfPlugins()
    except (OSError, AttributeError) as error:
        return f"does not load: {error}"
    return "" if count == 1 else f"has {count} plugins, expected 1"


def _worker() -> Finding:
    """Has the worker make a tiny frame, as a host would."""
    import numpy as np

    from stpn.plugin.worker_client import Installation, Job, Picture, WorkerClient, WorkerError

    noise = np.random.default_rng(0).random((32, 48, 3)).astype(np.float32)
    plates = {frame: Picture(noise + np.float32(0.01 * frame), "RGB") for frame in (1, 2, 3)}
    keys = {frame: Picture(plates[frame].pixels * np.array([1, 0.75, 0.5], np.float32), "RGB") for frame in (1, 3)}
    start = time.perf_counter()
    try:
        with WorkerClient(Installation(sys.executable, installation_name()), client="stpn doctor") as client:
            client.render(Job(2, plates, keys, want=("float", "RGB")))
    except WorkerError as error:
        return Finding("hosts", "worker", error.reason, WARNING, "the node fails in hosts; see the worker's log")
    seconds = time.perf_counter() - start
    return Finding("hosts", "worker", f"starts, first frame of 48 x 32 pixels after {seconds:.1f} s")
