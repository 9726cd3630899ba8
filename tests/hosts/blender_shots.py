"""For the tests of the Blender add-on: the shots that are propagated, and how `blender_scene.py` is told of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from stpn.ocio.plate import new_plate, write_plate

START, FIRST, LAST = 11, 1001, 1005
"""The scene frame that the first file plays at, and the numbers of the files."""

WIDTH, HEIGHT = 96, 64


def picture(frame: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray[Any, Any]:
    """A soft pattern that moves by two pixels a frame, with light beyond white and below black."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    x = x - 2.0 * (frame - FIRST)
    value = 0.4 + 0.25 * np.sin(x / 5.0) * np.cos(y / 7.0) + 0.1 * np.sin((x + y) / 3.0)
    value[:4, :4], value[:4, 4:8] = 12.5, -0.25
    return value


def write(path: Path, **channels: np.ndarray[Any, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_plate(path, new_plate({name: np.asarray(values) for name, values in channels.items()}))


def half(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.astype(np.float16)


def write_png(path: Path, *channels: np.ndarray[Any, Any]) -> None:
    import OpenImageIO as oiio

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (np.stack(channels, axis=-1).clip(0, 1) * 255 + 0.5).astype(np.uint8)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], "uint8"))
    assert output.write_image(pixels)
    output.close()


def make_shots(folder: Path) -> dict[str, Any]:
    """All sequences that are used, and how the scene script is told of them."""
    one = np.ones((HEIGHT, WIDTH), np.float32)
    for frame in range(FIRST, LAST + 1):
        grey = picture(frame)
        write(folder / f"plate.{frame}.exr", R=half(grey), G=half(grey), B=half(grey))
        write_png(folder / f"plate.{frame}.png", grey, grey, grey)
        ramp = np.linspace(0, 1, WIDTH, dtype=np.float32) * one
        write(folder / f"matte_alpha.{frame}.exr", R=half(one), G=half(one), B=half(one), A=half(ramp))
        write(folder / f"matte_grey.{frame}.exr", R=half(ramp), G=half(ramp), B=half(ramp))
        if frame in (FIRST, LAST):
            red, green, blue = grey * 1.2, grey * 0.9, grey * 0.6
            write(folder / f"keys.{frame}.exr", R=half(red), G=half(green), B=half(blue))
            write_png(folder / f"keys.{frame}.png", red, green, blue)
            depth = (10 + 5 * grey).astype(np.float32)
            write(folder / f"depth.{frame}.exr", R=half(grey), G=half(grey), B=half(grey), **{"depth.Z": depth})
            matte = (grey > 0.45).astype(np.float32)
            write_png(folder / f"matte_key.{frame}.png", matte)
            write(folder / f"matte_key.{frame}.exr", R=half(matte), G=half(matte), B=half(matte))
    for frame in range(FIRST, FIRST + 41):
        grey = picture(frame, 320, 180)
        write(folder / "long" / f"plate.{frame}.exr", R=half(grey), G=half(grey), B=half(grey))
    for frame in (FIRST, FIRST + 20, FIRST + 40):
        grey = picture(frame, 320, 180)
        write(folder / "long" / f"keys.{frame}.exr", R=half(grey * 1.2), G=half(grey), B=half(grey * 0.6))

    def pattern(name: str) -> str:
        return str(folder / name)

    return {
        "plate": pattern("plate.####.exr"),
        "keys": pattern("keys.####.exr"),
        "matte": {"matte_alpha": pattern("matte_alpha.####.exr"), "matte_grey": pattern("matte_grey.####.exr")},
        "png_plate": pattern("plate.####.png"),
        "png_keys": pattern("keys.####.png"),
        "depth_keys": pattern("depth.####.exr"),
        "matte_keys": {"png": pattern("matte_key.####.png"), "exr": pattern("matte_key.####.exr")},
        "long_plate": pattern("long/plate.####.exr"),
        "long_keys": pattern("long/keys.####.exr"),
        "start": START,
        "first": FIRST,
        "last": LAST,
        "size": [WIDTH, HEIGHT],
    }
