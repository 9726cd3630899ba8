"""Speed of `stpn convert` beside ocioconvert and oiiotool, in turns, on the same frames.

    python bench/convert.py                 # 24 frames of 4K half ZIP

The frames are made here: gradients and soft blobs between 0.002 and 12 with grain like a camera's (noise that grows
with the square root of the light, slightly blurred), a new picture each. They are ACEScg and become ACES2065-1. Nothing
is timed before all tools gave the same colors. The tools are those of the environment of this Python; `ocioconvert`
makes one picture a process, so it runs one after the other and two at once.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

CONFIG = "ocio://cg-config-v2.2.0_aces-v1.3_ocio-v2.4"  # the newest that the OCIO inside OpenImageIO opens too
FIRST = 1001
OURS = "stpn convert"
TOOLS = Path(sys.executable).parent
Array = np.ndarray[Any, Any]


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--size", default="4096x2160")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="tools whose names hold this, beside ours")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    args = parser.parse_args()
    os.environ["OCIO"] = CONFIG
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        columns, rows = map(int, args.size.split("x"))
        speed(Path(folder), args.frames, (rows, columns), args.rounds, args.only)


def speed(folder: Path, frames: int, shape: tuple[int, int], rounds: int, only: str) -> None:
    """Rounds of all tools in turns; seconds a frame, medians, and ratios to ours."""
    make_frames(folder, frames, shape)
    mebibytes = sum(path.stat().st_size for path in folder.glob("in.*")) / frames / 2**20
    raw = shape[0] * shape[1] * 6 / 2**20
    print(f"{frames} frames of {shape[1]} x {shape[0]} RGB half ZIP, {mebibytes:.0f} MiB each of {raw:.0f} decoded")
    ways = {name: way for name, way in commands(folder, frames).items() if only in name or name == OURS}
    gate(folder, commands(folder, 1))
    walls: dict[str, list[float]] = {name: [] for name in ways}
    work: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, command in ways.items():
            clean(folder)
            seconds, used = timed(command)
            walls[name].append(seconds / frames)
            work[name].append(used / frames)
            if len(list(folder.glob("out.*.exr"))) != frames:
                raise SystemExit(f"{name} did not make {frames} frames")
        print(f"round {number + 1}: " + ", ".join(f"{name} {walls[name][-1]:.3f}" for name in ways), flush=True)
    print("\n| tool | s a frame | processor s a frame | times ours |\n|---|---|---|---|")
    for name in ways:
        ratios = [other / own for other, own in zip(walls[name], walls[OURS], strict=True)]
        print(f"| {name} | {median(walls[name]):.3f} | {median(work[name]):.3f} | {median(ratios):.2f} |")
    print(f"\n{len(os.sched_getaffinity(0))} processors, load {os.getloadavg()[0]:.1f} at the end")


def commands(folder: Path, frames: int) -> dict[str, list[str]]:
    """Each tool on the whole sequence."""
    last = FIRST + frames - 1
    oiio = [str(TOOLS / "oiiotool"), "--frames", f"{FIRST}-{last}"]
    oiio_rest = [f"{folder}/in.#.exr", "--colorconvert", "ACEScg", "ACES2065-1", "-o", f"{folder}/out.#.exr"]
    one = f"{TOOLS}/ocioconvert {folder}/in.{{}}.exr ACEScg {folder}/out.{{}}.exr ACES2065-1 > {os.devnull}"
    return {
        OURS: [
            str(TOOLS / "stpn"), "convert", f"{folder}/in.####.exr", f"{folder}/out.####.exr",
            "--from", "ACEScg", "--to", "ACES2065-1", "--frames", f"{FIRST}-{last}",
        ],
        "ocioconvert": ["sh", "-c", f"seq {FIRST} {last} | xargs -I{{}} sh -c '{one}'"],
        "ocioconvert, two at once": ["sh", "-c", f"seq {FIRST} {last} | xargs -P2 -I{{}} sh -c '{one}'"],
        "oiiotool": [*oiio, *oiio_rest],
        "oiiotool --parallel-frames": [oiio[0], "--parallel-frames", *oiio[1:], *oiio_rest],
    }  # fmt: skip


def gate(folder: Path, ways: dict[str, list[str]]) -> None:
    """Lets every tool convert a frame, and compares with numpy in float64; ends the program where one is off."""
    source = pixels(folder / f"in.{FIRST}.exr")
    image = np.stack([source[name] for name in "RGB"], axis=-1).astype(np.float64)
    wanted = image @ matrix().T
    step = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(wanted), 2.0**-14))) - 10)
    for name, command in ways.items():
        clean(folder)
        timed(command)
        made = pixels(folder / f"out.{FIRST}.exr")
        found = np.stack([made[channel] for channel in "RGB"], axis=-1)
        if found.dtype != np.float16 or (np.abs(found - wanted) > step).any():
            raise SystemExit(f"{name}: other colors than ACES2065-1 of these, nothing is timed")
    print(f"gate: the first frame of every tool is ACES2065-1 to a step of half ({len(ways)} of {len(ways)})")


def matrix() -> Array:
    """ACEScg to ACES2065-1, (3, 3), as the config has it, in float64."""
    import PyOpenColorIO as ocio

    processor = ocio.Config.CreateFromFile(CONFIG).getProcessor("ACEScg", "ACES2065-1")
    (step,) = processor.getOptimizedProcessor(ocio.OPTIMIZATION_LOSSLESS).createGroupTransform()
    return np.asarray(step.getMatrix(), np.float64).reshape(4, 4)[:3, :3]


def make_frames(folder: Path, frames: int, shape: tuple[int, int]) -> None:
    """Writes in.1001.exr and on."""
    import cv2
    import OpenEXR

    random = np.random.default_rng(2024)
    rows, columns = shape
    blobs = cv2.GaussianBlur(random.random((rows // 8, columns // 8, 3), np.float32), (0, 0), 8)
    blobs = (blobs - blobs.min()) / np.ptp(blobs)
    light = np.exp2(cv2.resize(blobs, (columns, rows), interpolation=cv2.INTER_CUBIC) * 12.5 - 9).astype(np.float32)
    light *= np.linspace(0.5, 1.5, columns, dtype=np.float32)[None, :, None]
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    for frame in range(FIRST, FIRST + frames):
        grain = cv2.GaussianBlur(random.standard_normal((rows, columns, 3), np.float32), (0, 0), 0.6)
        picture = (light + 0.02 * np.sqrt(light) * grain).astype(np.float16)
        channels = {
            name: OpenEXR.Channel(np.ascontiguousarray(picture[:, :, index])) for index, name in enumerate("RGB")
        }
        OpenEXR.File(header, channels).write(str(folder / f"in.{frame}.exr"))


def pixels(path: Path) -> dict[str, Array]:
    """By the OpenEXR library."""
    import OpenEXR

    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    return {name: channel.pixels for name, channel in channels.items()}


def clean(folder: Path) -> None:
    """Removes results, so that every tool makes new files."""
    for path in folder.glob("out.*"):
        path.unlink()


def timed(command: list[str]) -> tuple[float, float]:
    """Wall clock and processor seconds of a command and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stderr}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
