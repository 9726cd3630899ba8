"""Film resolution: the time of a frame, memory, and what motion at a smaller size costs.

    python bench/film.py speed --size 4096x2160 --frames 41
    python bench/film.py quality --size 4096x2160
    python bench/film.py memory --size 4096x2160
    python bench/film.py sizes --picture docs/performance/sizes.png

Time is told as a multiple of that of reading one plate frame and writing one result frame with the OpenEXR library.

Shots are made from the panoramas of the shared data: a camera pans, turns and zooms over one, and grain lies over each
plate. Speed, memory and sizes are of shots on which finer texture of light and of color is printed, and which a patch
of another panorama crosses; quality is of both kinds. The plate is grey, the truth is colored, and keys stand every 20
frames. `quality` compares with the same method when motion, fusion and network run at the plate's own size.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR

SHARED = Path(os.environ.get("STPN_SHARED", Path(__file__).resolve().parents[2] / "shared"))
LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
INTERVAL = 20


class Scene:
    """A moving picture of any size whose color is known."""

    def __init__(self, width: int, height: int, panorama: int = 0, detail: bool = True) -> None:
        """Prints texture and adds the patch where there shall be detail."""
        files = sorted((SHARED / "data/hdr/panoramas").glob("*.exr"))
        self._size = width, height
        self._canvas = _canvas(files[panorama], int(width * 1.3), int(height * 1.3), panorama, detail)
        self._patch = _canvas(files[panorama + 1], width // 4, height // 3, panorama + 100, detail) if detail else None

    def frame(self, number: int) -> Any:
        """(H, W, 3) float32, linear Rec.709."""
        width, height = self._size
        scale, angle = 1 + 0.001 * number, np.deg2rad(0.04 * number)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        shift = np.array([0.05 * width + 0.0023 * width * number, 0.08 * height + 0.0011 * height * number])
        picture = cv2.warpAffine(
            self._canvas, np.column_stack([turn, shift]), (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT,
        )  # fmt: skip
        if self._patch is None:
            return picture
        top, left = int(0.35 * height), 0.1 * width + 0.011 * width * number
        tall, wide = self._patch.shape[:2]
        mask = np.zeros((tall, wide), np.float32)
        cv2.ellipse(mask, (wide // 2, tall // 2), (wide * 9 // 20, tall * 9 // 20), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
        place = np.array([[1, 0, left], [0, 1, top]])
        over = cv2.warpAffine(np.dstack([self._patch * mask[..., None], mask]), place, (width, height))
        return picture * (1 - over[..., 3:]) + over[..., :3]

    def plate(self, number: int) -> Any:
        """(H, W) float32: the luminance of a frame under grain."""
        light = self.frame(number) @ LUMINANCE
        grain = np.random.default_rng(number).standard_normal(light.shape, np.float32)
        return light * (1 + np.float32(0.012) * grain)


def _canvas(path: Path, width: int, height: int, seed: int, detail: bool) -> Any:
    with_channels = OpenEXR.File(str(path), separate_channels=True).channels()
    panorama = np.dstack([np.asarray(with_channels[name].pixels, np.float32) for name in "RGB"])
    view = panorama[128:384, : int(256 * width / height)]
    view = np.minimum(view / np.quantile(view @ LUMINANCE, 0.98), 4)
    large = np.maximum(cv2.resize(view, (width, height), interpolation=cv2.INTER_CUBIC), 0.002)
    random = np.random.default_rng(seed)
    for sigma, light, color in ((1.0, 0.10, 0.05), (3.0, 0.12, 0.10), (12.0, 0.10, 0.15)) if detail else ():
        noise = random.standard_normal((height, width, 3), np.float32)
        noise = cv2.GaussianBlur(noise, (0, 0), sigma) * np.float32(2 * sigma)
        large = large * np.exp(light * noise[..., :1] + color * (noise - noise @ LUMINANCE[:, None]))
    return np.ascontiguousarray(large, np.float32)


def write_shot(folder: Path, scene: Scene, frames: int, interval: int = INTERVAL) -> None:
    """Grey plates and colored keys, half ZIP."""
    for number in range(frames):
        light = scene.plate(number)
        _write(folder / f"plate.{1001 + number}.exr", np.dstack([light] * 3))
        if number % interval == 0:
            _write(folder / f"key.{1001 + number}.exr", scene.frame(number))


def _write(path: Path, picture: Any) -> None:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    half = np.minimum(picture, 65504).astype(np.float16)
    OpenEXR.File(header, {n: np.ascontiguousarray(half[..., i]) for i, n in enumerate("RGB")}).write(str(path))


def _read(path: Path) -> Any:
    channels = OpenEXR.File(str(path), separate_channels=True).channels()
    return np.dstack([np.asarray(channels[name].pixels, np.float32) for name in "RGB"])


def io_alone(folder: Path) -> float:
    """Seconds to read one plate frame and write one result frame with the OpenEXR library as it is installed."""
    result = {
        n: np.ascontiguousarray(_read(folder / "key.1001.exr")[..., i].astype(np.float16)) for i, n in enumerate("RGB")
    }
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    times = []
    for number in range(1001, 1006):
        start = time.perf_counter()
        opened = OpenEXR.File(str(folder / f"plate.{number}.exr"), separate_channels=True).channels()
        assert all(opened[name].pixels.size for name in "RGB")
        OpenEXR.File(header, result).write(str(folder / "alone.exr"))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def propagate(folder: Path, *options: str, interval: int = INTERVAL) -> dict[str, float]:
    """Wall time of the whole command, time to its first file and its peak memory."""
    for old in folder.glob("out.*.exr"):
        old.unlink()
    files = {"plate": "plate", "keys": "key", "output": "out"}
    names = [f"--{what}={folder}/{name}.####.exr" for what, name in files.items()]
    profile = folder / "profile.json"
    options = (*names, f"--interval={interval}", f"--profile={profile}", *options)
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "stpn.plugin.cli", "propagate", *options],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    first = 0.0
    while process.poll() is None:
        if not first and (folder / "out.1001.exr").exists():
            first = time.perf_counter() - start
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    if process.returncode:
        assert process.stderr is not None
        raise SystemExit(process.stderr.read())
    peak = json.loads(profile.read_text())["peak_bytes"] / 2**30
    return {"seconds": seconds, "first": first or seconds, "peak_gib": peak}


def speed(width: int, height: int, frames: int, rounds: int, options: list[str]) -> dict[str, Any]:
    """The whole command against reading and writing alone, turn by turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shot(folder, Scene(width, height), frames)
        alone, found = [], []
        for _ in range(rounds):
            alone.append(io_alone(folder))
            found.append(propagate(folder, *options))
        alone.append(io_alone(folder))
    each = [one["seconds"] / frames for one in found]
    io = statistics.median(alone)
    return {
        "size": f"{width}x{height}", "frames": frames, "read and write alone": round(io, 3),
        "a frame": round(statistics.median(each), 3), "ratio": round(statistics.median(each) / io, 2),
        "first file": round(statistics.median(one["first"] for one in found), 2),
        "peak GiB": round(max(one["peak_gib"] for one in found), 2),
    }  # fmt: skip


def quality(width: int, height: int, panorama: int, detail: bool, frames: tuple[int, ...]) -> dict[str, Any]:
    """PSNR of display-referred results against the truth, at the working size and at the plate's own."""
    from stpn.engine import working_size
    from stpn.plugin.render import render
    from stpn.plugin.request import Request
    from stpn.plugin.shot import check

    scene, found = Scene(width, height, panorama, detail), {}
    asked = ",".join(str(1001 + frame) for frame in frames)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shot(folder, scene, INTERVAL + 1)
        at = [str(folder / f"{what}.####.exr") for what in ("plate", "key", "out")]
        usual = working_size.LONG_SIDE
        for path, side in (("working size", usual), ("own size", max(width, height))):
            working_size.LONG_SIDE = side
            start = time.perf_counter()
            for method in ("flow", "aligned"):
                shot = check(Request(*at, interval=INTERVAL, frames=asked, method=method, cuts="none"))
                list(render(shot))
                errors = [
                    _squared_error(_read(folder / f"out.{1001 + f}.exr"), scene.frame(f), scene.plate(f))
                    for f in frames
                ]
                found[f"{method}, {path}"] = round(float(-10 * np.log10(np.mean(errors))), 2)
            found[f"seconds, {path}"] = round(time.perf_counter() - start, 1)
        working_size.LONG_SIDE = usual
    return {"size": f"{width}x{height}", "panorama": panorama, "detail": detail, **found}


def _squared_error(found: Any, truth: Any, plate: Any) -> float:
    """Of display-referred values; the truth at the luminance of the plate, whose grain is not the method's fault."""
    truth = truth * (plate / np.maximum(truth @ LUMINANCE, 1e-6))[..., None]
    shown = [np.clip(np.maximum(picture, 0) ** np.float32(1 / 2.4), 0, 1) for picture in (found, truth)]
    return float(np.mean((shown[0] - shown[1]) ** 2))


def memory(width: int, height: int, options: list[str]) -> list[dict[str, Any]]:
    """Peak memory of shots and intervals of several lengths."""
    out = []
    for frames, interval in ((41, 20), (81, 20), (81, 40)):
        with tempfile.TemporaryDirectory() as name:
            write_shot(Path(name), Scene(width, height), frames, interval)
            peak = propagate(Path(name), *options, interval=interval)["peak_gib"]
        out.append({"size": f"{width}x{height}", "frames": frames, "interval": interval, "peak GiB": round(peak, 2)})
        print(json.dumps(out[-1]), flush=True)
    return out


def sizes(picture: Path | None, rounds: int, options: list[str]) -> None:
    """Time a frame from 1K to 6K, and its plot."""
    found = []
    for width, height in ((1024, 540), (2048, 1080), (4096, 2160), (6144, 3240)):
        found.append(speed(width, height, INTERVAL + 1, rounds, options))
        print(json.dumps(found[-1]), flush=True)
    if picture is None:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    pixels = [np.prod([int(n) for n in one["size"].split("x")]) / 1e6 for one in found]
    axes.loglog(pixels, [one["a frame"] for one in found], "o-", label="stpn propagate, whole command")
    axes.loglog(pixels, [one["read and write alone"] for one in found], "s-", label="read and write one frame alone")
    scale = found[-1]["a frame"] / pixels[-1]
    axes.loglog(pixels, [scale * n for n in pixels], ":", color="grey", label="as the number of pixels")
    axes.set_xlabel("megapixels")
    axes.set_ylabel("seconds a frame")
    axes.set_xticks(pixels, [one["size"].split("x")[0] for one in found])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110)


def main() -> None:
    """Prints one JSON object a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "quality", "memory", "sizes"))
    parser.add_argument("--size", default="1920x1080")
    parser.add_argument("--frames", type=int, default=41)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--panorama", type=int, default=0, help="which, for quality")
    parser.add_argument("--picture", type=Path, help="where the plot of sizes goes")
    parser.add_argument("options", nargs="*", help="for stpn propagate, after --")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    if args.what == "speed":
        print(json.dumps(speed(width, height, args.frames, args.rounds, args.options)))
    elif args.what == "quality":
        for detail in (False, True):
            print(json.dumps(quality(width, height, args.panorama, detail, (5, 10, 15))), flush=True)
    elif args.what == "memory":
        memory(width, height, args.options)
    else:
        sizes(args.picture, args.rounds, args.options)


if __name__ == "__main__":
    main()
