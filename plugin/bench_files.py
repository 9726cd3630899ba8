"""Benchmarks by way of files: a shot is written, `stpn propagate` carries it in a process of its own, its files are
read."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from stpn.engine.evaluation.color import ColorClip, Result
    from stpn.engine.evaluation.methods import Method
    from stpn.engine.evaluation.numbers import Numbers
    from stpn.engine.evaluation.panorama import HdrShot
    from stpn.ocio.plate import Plate

Image = NDArray[np.float32]

_STPN = "import sys; from stpn.plugin.cli import main; sys.exit(main())"


class BenchError(Exception):
    """A render failed."""


class FileShot:
    """A folder with guide/, keys/, result/ and confidence/."""

    def __init__(self, name: str, folder: Path) -> None:
        """Writes nothing yet; `name` is what errors call it."""
        self._name = name
        self._folder = folder

    def path(self, what: str, frame: int | None = None, suffix: str = "exr") -> Path:
        """Of a frame's file; None: the pattern."""
        number = "####" if frame is None else f"{frame:04d}"
        path = self._folder / what / f"{what}.{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_linear(self, what: str, frame: int, rgb: Image) -> None:
        """Scene-linear Rec.709 (H, W, 3) float32 as EXR."""
        from stpn.ocio.plate import new_plate, write_plate
        from stpn.ocio.primaries import REC709

        channels = {channel: np.ascontiguousarray(rgb[..., i], np.float32) for i, channel in enumerate("RGB")}
        plate = new_plate(channels, attributes={"chromaticities": REC709.chromaticities})
        write_plate(self.path(what, frame), plate)

    def write_8bit(self, what: str, frame: int, picture: NDArray[np.uint8]) -> None:
        """(H, W) or (H, W, 3) uint8 RGB as PNG."""
        import cv2

        path = self.path(what, frame, "png")
        if not cv2.imwrite(str(path), picture[..., ::-1] if picture.ndim == 3 else picture):
            raise OSError(f"{path}: could not be written")

    def propagate(self, *options: object, guide: str = "exr", keys: str = "exr") -> None:
        """Runs `stpn propagate`.

        Args:
            options: besides the files.
            guide, keys: extensions.

        Raises:
            BenchError: it fails.
        """
        command = [
            sys.executable, "-c", _STPN, "propagate", "--plate", self.path("guide", None, guide), "--keys",
            self.path("keys", None, keys), "--output", self.path("result"), "--confidence", self.path("confidence"),
            "--threads", 1, *options,
        ]  # fmt: skip
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{self._name}: stpn propagate ended with exit code {done.returncode}\n{done.stderr}")

    def result(self, frame: int) -> Plate:
        """What was made of a frame."""
        from stpn.ocio.plate import read_plate

        return read_plate(self.path("result", frame))

    def confidence(self, frame: int) -> Image:
        """How sure that is, (H, W), 0..1."""
        from stpn.ocio.plate import read_plate

        return read_plate(self.path("confidence", frame)).pixels("Y").astype(np.float32)

    def finite(self, values: Image, frame: int) -> Image:
        """The same values.

        Raises:
            BenchError: some are no number.
        """
        if not np.isfinite(values).all():
            raise BenchError(f"{self._name}: expected finite results, frame {frame} has pixels that are not")
        return values


def rendered_color(root: Path, clip: ColorClip, interval: int, method: Method) -> Iterator[Result]:
    """`through_files` in a folder that is taken away again."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        yield from through_files(clip, interval, method, Path(folder))


def through_files(clip: ColorClip, interval: int, method: Method, folder: Path) -> Iterator[Result]:
    """Results of color by way of EXR files.

    Args:
        clip: what.
        interval: frames from key to key.
        method: of stpn propagate.
        folder: where guide/, keys/, result/ and confidence/ go.

    Raises:
        BenchError: the command fails, or gives what is no number.
        PlateError: a file cannot be written or read.
    """
    from stpn.engine.evaluation.color import Result, rgb_to_lab
    from stpn.plugin.display import srgb_encoded

    shot = FileShot(clip.name, folder)

    def linear(rgb: Image) -> Image:
        high = ((np.maximum(rgb, 0) + 0.055) / 1.055) ** 2.4
        return np.where(rgb <= 0.04045, rgb / 12.92, high).astype(np.float32)

    for frame in range(len(clip)):
        shot.write_linear("guide", frame, linear(clip.grey(frame)))
        if frame % interval == 0:
            shot.write_linear("keys", frame, linear(clip.frames[frame] / np.float32(255)))
    shot.propagate("--interval", interval, "--method", method.kind)
    for frame in range(len(clip)):
        if frame % interval:
            shown = srgb_encoded(shot.finite(shot.result(frame).color(), frame))
            picture, ab = np.rint(shown).astype(np.uint8), rgb_to_lab(shown / np.float32(255))[..., 1:]
            yield Result(frame, picture, ab, shot.confidence(frame))


def numbers_through_files(root: Path, prop: str, job: Any) -> Numbers:
    """Numbers of a job of hdr or mask: of its methods by way of files, of its baselines in memory.

    Args:
        root: where a folder is made, and taken away again.
        prop: hdr or mask.
        job: of `stpn.engine.evaluation.hdr` or `mask`.

    Raises:
        BenchError: a command fails, or gives what is no number.
        PlateError, ClipError: a file cannot be written or read.
    """
    from stpn.engine.evaluation import hdr, mask

    protocol: Any = hdr if prop == "hdr" else mask
    numbers: Numbers = {}
    for method in job.methods:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            if prop == "mask":
                numbers[method.label] = mask_numbers(job, method.kind, Path(folder))
                continue
            # what is carried, before it is joined with the plate, goes into no file
            numbers[method.label] = dict.fromkeys(hdr.METRICS)
            numbers[f"{method.label}+blend"] = hdr_numbers(job, method.kind, Path(folder))
    return {**numbers, **protocol.measure(replace(job, methods=()))}


def hdr_numbers(job: Any, kind: str, folder: Path) -> dict[str, float | None]:
    """What a method of `stpn propagate` makes of a panorama: the guide an 8-bit PNG, the keys EXR.

    Args:
        job: panorama and interval.
        kind: the method.
        folder: where files go.
    """
    from stpn.engine.evaluation.hdr import score
    from stpn.engine.evaluation.panorama import shot_in

    scene: HdrShot = shot_in(job.read(job.source.path))
    shot = FileShot(job.source.name, folder)
    frames = range(len(scene.scene))
    for frame in frames:
        shot.write_8bit("guide", frame, scene.ldr[frame])
        if frame % job.interval == 0:
            shot.write_linear("keys", frame, scene.scene[frame])
    shot.propagate("--property", "hdr", "--interval", job.interval, "--method", kind, "--cuts", "none", guide="png")
    made = ((frame, {kind: shot.finite(shot.result(frame).color(), frame)}) for frame in frames if frame % job.interval)
    return score(scene, job.interval, made)[kind]


def mask_numbers(job: Any, kind: str, folder: Path) -> dict[str, float | None]:
    """What a method of `stpn propagate` makes of a sequence with masks: the guide and the one key 8-bit PNG.

    Args:
        job: the sequence.
        kind: the method.
        folder: where files go.
    """
    from stpn.engine.evaluation.clips import ClipError, read_frames, read_masks
    from stpn.engine.evaluation.metrics import boundary, jaccard

    source = job.source.path
    pictures = source / "frames"
    frames = read_frames(pictures if pictures.is_dir() else source / "frames.mp4")
    truth = read_masks(source / "masks", frames)
    if truth[0] is None or not any(mask is not None for mask in truth[1:]):
        raise ClipError(f"{source}: expected masks of the first frame and of one more, or more, found none more")
    shot = FileShot(job.source.name, folder)
    for frame, picture in enumerate(frames):
        shot.write_8bit("guide", frame, picture)
    shot.write_8bit("keys", 0, truth[0].astype(np.uint8) * 255)
    shot.propagate("--property", "mask", "--method", kind, "--cuts", "none", guide="png", keys="png")
    found = []
    for frame, mask in enumerate(truth):
        if frame and mask is not None:
            plate = shot.result(frame)
            channel = plate.info.parts[0].channel_names[0]
            made = shot.finite(plate.pixels(channel).astype(np.float32), frame) > 0.5
            found.append({"J": 100 * jaccard(made, mask), "F": 100 * boundary(made, mask)})
    return _means(found)


def _means(found: Sequence[dict[str, Any]]) -> dict[str, float | None]:
    from stpn.engine.evaluation.numbers import mean_of_known

    return {metric: mean_of_known(row[metric] for row in found) for metric in found[0]}
