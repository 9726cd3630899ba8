"""How exactly `stpn convert` takes random half floats from ACEScg to ACES2065-1 and back.

    python bench/convert_exact.py

Three kinds of colors: grey, every finite half; channels within a factor of 2^8 of each other; three independent random
finite halves. Through a file of half and a file of float. Beside it what exact arithmetic would give that is rounded to
float in the file between.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
from convert import matrix

from stpn.ocio.convert import convert

Array = np.ndarray[Any, Any]
SHAPE = (512, 1024)
HALVES = np.arange(65536, dtype=np.uint16).view(np.float16)
FINITE = HALVES[np.isfinite(HALVES)]


def main() -> None:
    """Prints the share of channels that come back within a step of half."""
    random = np.random.default_rng(1)
    print("| colors | through | of each channel | of the largest | exact arithmetic, each |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        for kind, rgb in colors(random):
            for through in ("half", "float"):
                there, back = round_trip(Path(name), rgb, through)
                ideal = rounded(np.linalg.solve(matrix(), rounded(matrix() @ there, through)), "half")
                own, largest = step(there), step(np.abs(there).max(axis=0))
                shares = [np.abs(back - there) <= own, np.abs(back - there) <= largest, np.abs(ideal - there) <= own]
                told = " | ".join(f"{100 * share.mean():.2f} %" for share in shares)
                print(f"| {kind} | {through} | {told} |")


def colors(random: np.random.Generator) -> Iterator[tuple[str, list[Array]]]:
    """Name and red, green, blue."""
    grey = np.resize(FINITE, SHAPE)
    yield "grey, every finite half", [grey] * 3
    factors = [np.exp2(random.uniform(-4, 4, SHAPE)) for _ in range(3)]
    # what leaves the range of half cannot come back through half
    near = [np.clip(grey.astype(np.float64) * factor, -30000, 30000).astype(np.float16) for factor in factors]
    yield "channels within a factor of 2^8", near
    yield "three independent random halves", [random.choice(FINITE, SHAPE) for _ in range(3)]


def round_trip(folder: Path, rgb: list[Array], through: str) -> tuple[Array, Array]:
    """Colors before and after, (3, pixels) float64."""
    channels = {name: OpenEXR.Channel(np.ascontiguousarray(array)) for name, array in zip("RGB", rgb, strict=True)}
    OpenEXR.File({"type": OpenEXR.scanlineimage}, channels).write(str(folder / "a.exr"))
    convert(folder / "a.exr", folder / "b.exr", from_space="ACEScg", to_space="ACES2065-1", pixel_type=through)
    convert(folder / "b.exr", folder / "c.exr", to_space="ACEScg", pixel_type="half")
    back = OpenEXR.File(str(folder / "c.exr"), separate_channels=True).channels()
    return stacked(rgb), stacked([back[name].pixels for name in "RGB"])


def stacked(rgb: list[Array]) -> Array:
    """(3, pixels) float64."""
    return np.stack([array.ravel() for array in rgb]).astype(np.float64)


def rounded(values: Array, kind: str) -> Array:
    """As a file of that type holds them."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16 if kind == "half" else np.float32).astype(np.float64)


def step(values: Array) -> Array:
    """From a number to the next half."""
    return np.asarray(2.0 ** (np.floor(np.log2(np.maximum(np.abs(values), 2.0**-14))) - 10))


if __name__ == "__main__":
    main()
