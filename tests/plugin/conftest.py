"""A small shot on disk, made and judged with the OpenEXR library itself, and `stpn` as a person runs it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest

from stpn.engine.backends.engine_build import TensorRTMissing
from stpn.plugin import device
from stpn.plugin.cli import main
from stpn.plugin.render import Frame, render
from stpn.plugin.request import Request, RequestError
from stpn.plugin.shot import check

Array = np.ndarray[Any, Any]
NO_TENSORRT = (
    "TensorRT: expected the package tensorrt, got: nothing; run: pip install tensorrt, or go on with --device cpu"
)
_ATLAS = 128
_MOTION = (1, 2)  # rows and columns a frame


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is chosen and said must not depend on the machine that runs the tests."""
    monkeypatch.setattr(device, "why_no_cuda", lambda: "there is no driver library libcuda.so.1")

    def none() -> Any:
        raise TensorRTMissing(NO_TENSORRT)

    monkeypatch.setattr("stpn.engine.backends.engine_build.find_machine", none)


def _noise(seed: int, finest: float) -> Array:
    """Smooth periodic noise (_ATLAS, _ATLAS) float64 with mean 0 and deviation 1."""
    spectrum = np.fft.fft2(np.random.default_rng(seed).normal(size=(_ATLAS, _ATLAS)))
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_ATLAS), np.fft.fftfreq(_ATLAS)))
    noise = np.fft.ifft2(spectrum * np.exp(-((frequency * finest) ** 2))).real
    return (noise - noise.mean()) / noise.std()


_LIGHT = np.exp(0.5 * _noise(1, 6) - 1.5)
_TINT = 0.25 * np.dstack([_noise(seed, 12) for seed in (2, 3, 4)])


@dataclass(frozen=True)
class Result:
    """What a command left behind: its exit code, standard output and standard error."""

    code: int
    out: str
    err: str


class Studio:
    """A folder with a shot in it.

    The scene moves by whole pixels, so that the truth of every frame is known: `light` and `rgb`. The plate is its
    luminance in R, G and B; the keys have the colors.

    Attributes:
        folder: where all files are.
        shape: height and width of what is written.
        exposure: what the scene is multiplied with.
    """

    rec709 = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)
    ap1 = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.shape = (40, 56)
        self.exposure = 1.0
        self._capture = capture

    def light(self, frame: int) -> Array:
        """Luminance (H, W) of the scene, float64."""
        return self._seen(_LIGHT, frame) * self.exposure

    def rgb(self, frame: int, chromaticities: tuple[float, ...] = rec709) -> Array:
        """Linear RGB (H, W, 3) of the scene, float64, with luminance `light`."""
        tint = self._seen(_TINT, frame)
        tint = tint - (tint @ self.weights(chromaticities))[..., None]
        return self.light(frame)[..., None] * (1 + tint)

    def _seen(self, atlas: Array, frame: int) -> Array:
        moved = np.roll(atlas, [-step * frame for step in _MOTION], axis=(0, 1))
        return moved[: self.shape[0], : self.shape[1]]

    @staticmethod
    def weights(chromaticities: tuple[float, ...]) -> Array:
        """Luminance weights (3,) float64 of primaries and white, as SMPTE RP 177 derives them."""
        xyz = [np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in np.reshape(chromaticities, (4, 2))]
        return np.asarray(np.linalg.solve(np.column_stack(xyz[:3]), xyz[3]))

    @staticmethod
    def channels(image: Array, dtype: type = np.float16, names: str = "RGB") -> dict[str, Array]:
        """An image (H, W) or (H, W, 3) as channels."""
        image = np.broadcast_to(np.atleast_3d(image), (*image.shape[:2], len(names)))
        return {name: np.ascontiguousarray(image[..., index], dtype) for index, name in enumerate(names)}

    def write(self, name: str, channels: Mapping[str, Array], **header: object) -> Path:
        """An EXR in the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        header = {
            "compression": OpenEXR.ZIP_COMPRESSION,
            "type": OpenEXR.scanlineimage,
            "chromaticities": self.rec709,
            **header,
        }
        OpenEXR.File(header, {n: OpenEXR.Channel(n, array) for n, array in channels.items()}).write(str(path))
        return path

    def plate(self, frames: Iterable[int] = range(1001, 1006), dtype: type = np.float16, **header: object) -> None:
        """Plate frames plate.####.exr."""
        for frame in frames:
            self.write(f"plate.{frame:04d}.exr", self.channels(self.light(frame), dtype), **header)

    def keys(self, frames: Iterable[int] = (1001, 1005), dtype: type = np.float16, **header: object) -> None:
        """Key frames key.####.exr."""
        chromaticities: Any = header.get("chromaticities", self.rec709)
        for frame in frames:
            self.write(f"key.{frame:04d}.exr", self.channels(self.rgb(frame, chromaticities), dtype), **header)

    def request(self, **options: Any) -> Request:
        """A request for the shot in this folder."""
        named = {name: str(self.folder / f"{stem}.####.exr") for name, stem in self._files.items()}
        for name, value in options.items():
            is_file = name in (*self._files, "confidence") and value is not None
            named[name] = str(self.folder / value) if is_file else value
        return Request(**named)

    _files = {"plate": "plate", "keys": "key", "output": "out"}  # noqa: RUF012

    def render(self, **options: Any) -> list[Frame]:
        """Renders the shot in this folder."""
        return list(render(check(self.request(**options))))

    def refused(self, **options: Any) -> tuple[str, ...]:
        """The problems of a request, folder names left out; nothing may have been written."""
        before = self.files()
        with pytest.raises(RequestError) as error:
            check(self.request(**options))
        assert self.files() == before
        return tuple(problem.replace(f"{self.folder}/", "") for problem in error.value.problems)

    def arguments(self, *options: str) -> list[str]:
        """The command line for the shot in this folder; options given again win."""
        files = [f"--{name}={self.folder}/{stem}.####.exr" for name, stem in self._files.items()]
        return ["propagate", *files, *options]

    def run(self, *options: str) -> Result:
        """Runs `stpn propagate` in this process."""
        self._capture.readouterr()
        try:
            code = main(self.arguments(*options))
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        said = self._capture.readouterr()
        return Result(code, said.out, said.err)

    def files(self) -> dict[str, tuple[int, int, bytes]]:
        """Every file in the folder: inode, time of change and content."""
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return {
            str(path.relative_to(self.folder)): (os.stat(path).st_ino, os.stat(path).st_mtime_ns, path.read_bytes())
            for path in found
        }

    def contents(self, start: str) -> dict[str, bytes]:
        """The content of every file whose name starts so, by what follows."""
        return {name.removeprefix(start): data for name, (_, _, data) in self.files().items() if name.startswith(start)}

    def pixels(self, name: str, part: int = 0) -> dict[str, Array]:
        """Channels of a part, in the order of the file."""
        file = OpenEXR.File(str(self.folder / name), separate_channels=True)
        return {channel: found.pixels for channel, found in file.channels(part).items()}

    def header(self, name: str, part: int = 0) -> dict[str, object]:
        """Attributes of a part, as values that compare, less the one that stpn adds."""

        def plain(value: Any) -> object:
            if isinstance(value, tuple):
                return tuple(plain(item) for item in value)
            return value.tolist() if isinstance(value, np.ndarray) else repr(value)

        header = OpenEXR.File(str(self.folder / name), separate_channels=True).header(part)
        return {attribute: plain(value) for attribute, value in header.items() if attribute != "stpn:digest"}

    def image(self, name: str, part: int = 0) -> Array:
        """RGB (H, W, 3) of a part, float64."""
        pixels = self.pixels(name, part)
        return np.dstack([pixels[channel].astype(np.float64) for channel in "RGB"])

    def luminance_error(self, result: Array, light: Array, chromaticities: tuple[float, ...] = rec709) -> float:
        """The largest difference of luminance, relative to the larger of the plate's and 0.001."""
        light = light.astype(np.float64)
        found = result @ self.weights(chromaticities)
        return float((np.abs(found - light) / np.maximum(np.abs(light), 1e-3)).max())


@pytest.fixture
def studio(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Studio:
    """An empty folder for a shot; the config is the built-in one."""
    monkeypatch.delenv("OCIO", raising=False)
    return Studio(tmp_path, capsys)
