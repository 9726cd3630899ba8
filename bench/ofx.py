"""What the OpenFX plugin costs beside the engine, in the small host of the tests, on this machine.

    python bench/ofx.py                        build the bundle, measure
    python bench/ofx.py --bundle DIR.bundle    measure one that is built (its stpn.conf decides the worker)

Prints the seconds from a host's start to its first frame (the example shot, worker start included), then, for 4K float
RGBA, the milliseconds a frame takes besides the engine: one picture in, one result out, all bookkeeping; and those of a
frame that was rendered before. What the host itself needs to make its images is left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/hosts"))

from ofx_host import Effect, Host  # noqa: E402
from ofx_images import Clip, Image, Objects  # noqa: E402

from stpn.ocio.plate import read_plate  # noqa: E402
from stpn.plugin.hosts.places import HOSTS  # noqa: E402
from stpn.plugin.hosts.placing import place  # noqa: E402

WIDTH, HEIGHT = 3840, 2160
INTERVAL = 20


class TimedHost(Host):
    """Knows how long actions took, and its own callbacks for images within."""

    own = 0.0
    taken = 0.0

    def call(self, *arguments: Any, **named: Any) -> Any:
        """See `Host`."""
        start = time.perf_counter()
        found = super().call(*arguments, **named)
        self.taken = time.perf_counter() - start
        return found

    def _image(self, *arguments: Any) -> int:
        start = time.perf_counter()
        found = super()._image(*arguments)
        self.own += time.perf_counter() - start
        return found

    def _release(self, *arguments: Any) -> int:
        start = time.perf_counter()
        found = super()._release(*arguments)
        self.own += time.perf_counter() - start
        return found


def main() -> None:
    """Prints the three figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stpn-bench-") as name:
        folder = Path(name)
        os.environ |= {"STPN_RUNTIME_DIR": name, "STPN_WORKER_IDLE": "2", "STPN_WORKER_MEMORY": str(3 << 29)}
        bundle = args.bundle or built(folder)
        first = [first_frame(bundle) for _ in range(3)]
        print(f"first frame, 320 x 180, a key every {INTERVAL}: {', '.join(f'{s:.2f}' for s in first)} s after start")
        fresh, again = large(bundle, args.rounds)
        for what, times in (("a new frame", fresh), ("a frame that is known", again)):
            listed = ", ".join(f"{1000 * t:.0f}" for t in times)
            print(f"4K float RGBA, {what}, besides the engine: median {1000 * median(times):.0f} ms ({listed})")


def built(folder: Path) -> Path:
    """The bundle, as install.py places it, but noted nowhere."""
    sys.prefix, before = str(folder), sys.prefix
    try:
        return place(HOSTS["ofx"], folder / "plugins").folder
    finally:
        sys.prefix = before


def first_frame(bundle: Path) -> float:
    """Seconds from the start of a host to its first frame; the worker is started for it and ends behind it."""
    plates = {frame: example("plate", frame) for frame in range(1001, 1002 + INTERVAL)}
    keys = {frame: example("keys", frame) for frame in (1001, 1001 + INTERVAL)}
    start = time.perf_counter()
    host = Host(bundle)
    node = host.create()
    connect(node, plates.__getitem__, keys.__getitem__, (1001, 1001 + INTERVAL))
    node["interval"] = INTERVAL
    made = node.render(1001 + INTERVAL // 2, plates[1001])
    seconds = time.perf_counter() - start
    assert made is not None, host.complaint
    host.close()
    worker = ["pgrep", "-f", os.environ["STPN_RUNTIME_DIR"] + "/auto"]
    while subprocess.run(worker, capture_output=True).returncode == 0:
        time.sleep(0.1)
    return seconds


def example(kind: str, frame: int) -> np.ndarray[Any, Any]:
    """(H, W, 4) float32 of the example shot."""
    plate = read_plate(ROOT / f"examples/juggle/{kind}/{kind}.{frame:04d}.exr")
    image = plate.color()
    return np.ascontiguousarray(np.dstack([image, np.ones(image.shape[:2], np.float32)]))


def large(bundle: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds besides the engine of frames that are new, and of the same frames again, once memory was touched.

    Every frame is a key, which the engine hands on; the keys are one picture, so that each frame brings one new one.
    """
    picture = np.random.default_rng(0).random((HEIGHT, WIDTH, 4), np.float32)
    host = TimedHost(bundle)
    node = host.create()
    connect(node, lambda time: picture, lambda time: picture, (1, 1000))
    node["key_frames"] = "1-1000"
    for name in ("Source", "Keys"):
        patched(node.clips[name], Image(host.objects, picture, node.clips[name].layout, "key"))
    like = np.empty((HEIGHT, WIDTH, 4), np.float32)

    def one(frame: int) -> float:
        host.own = 0.0
        assert node.render(frame, like) is not None, host.complaint
        return host.taken - host.own

    for frame in range(1, 13):  # touches the memory
        one(frame)
    fresh = [one(frame) for frame in range(101, 101 + rounds)]
    known = list(range(101 + rounds - 3, 101 + rounds))
    again = [one(frame) for frame in known * 4]
    return fresh, again


def patched(clip: Clip, image: Image) -> None:
    """Lets a clip hand out one image, under another identifier at every time where it is the Source."""

    def give(objects: Objects, time: float) -> Image:
        if clip.name == "Source":
            image.properties.values["OfxImagePropUniqueIdentifier"] = [f"source {time:g}"]
        return image

    clip.image = give  # type: ignore[method-assign]


def connect(node: Effect, source: Any, keys: Any, frames: tuple[int, int]) -> None:
    for name, picture in (("Source", source), ("Keys", keys), ("Output", source)):
        node.clips[name].connect(picture, frames)


if __name__ == "__main__":
    main()
