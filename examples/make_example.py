#!/usr/bin/env python3
"""Make an example shot from a video clip: a grey plate and color keys as scene-linear half-float OpenEXR.

    .venv/bin/python examples/make_example.py CLIP --output examples/juggle --credit "who made the clip, licence"

The plate keeps the CIE Lab lightness of every frame and has no color (a = b = 0); the keys are the color frames.
Both are linear Rec.709 and say so, carry a time code that counts frames, and name the owner of the footage.
Needs opencv and OpenEXR, which are in the environment that install.py makes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import OpenEXR

REC709_CHROMATICITIES = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290)


def read_clip(path: Path, *, skip: int, count: int) -> Iterator[np.ndarray]:
    """Yield `count` frames of a clip after the first `skip`: (height, width, 3) BGR, float32 display values in 0..1."""
    video = cv2.VideoCapture(str(path))
    for position in range(skip + count):
        readable, frame = video.read()
        if not readable:
            raise SystemExit(f"{path}: expected {skip + count} frames, got {position}; ask for fewer with --frames")
        if position >= skip:
            yield frame.astype(np.float32) / 255


def shrink(image: np.ndarray, long_side: int) -> np.ndarray:
    """Reduce an image to a long side by area averaging, both sides even; a smaller one stays as it is."""
    height, width = image.shape[:2]
    factor = long_side / max(height, width)
    if factor >= 1:
        return image
    size = round(width * factor / 2) * 2, round(height * factor / 2) * 2
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def srgb_to_linear(display: np.ndarray) -> np.ndarray:
    """Undo the sRGB curve (IEC 61966-2-1): display values in 0..1 to scene-linear, float32."""
    low, high = display / 12.92, ((np.maximum(display, 0) + 0.055) / 1.055) ** 2.4
    return np.where(display <= 0.04045, low, high).astype(np.float32)


def without_color(bgr: np.ndarray) -> np.ndarray:
    """The same picture with its CIE Lab lightness and no color, one channel of display values in 0..1."""
    lab = cv2.cvtColor(bgr, cv2.COLOR_BGR2LAB)
    lab[..., 1:] = 0
    # The three channels agree to 3e-7; taking one of them makes R, G and B equal bit for bit.
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR)[..., 1])


def time_code(frame: int, rate: int) -> Any:
    """The SMPTE time code of a frame number, counted from 00:00:00:00 at frame 0."""
    code = OpenEXR.TimeCode()
    code.hours, code.minutes = frame // (3600 * rate) % 24, frame // (60 * rate) % 60
    code.seconds, code.frame = frame // rate % 60, frame % rate
    return code


def header(frame: int, *, rate: int, credit: str, comments: str) -> dict[str, Any]:
    """Attributes of one file."""
    return {
        # On this footage ZIP is the smaller of the lossless kinds: three equal channels compress to a third.
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "chromaticities": REC709_CHROMATICITIES,
        "timeCode": time_code(frame, rate),
        "framesPerSecond": Fraction(rate, 1),
        "owner": credit,
        "comments": comments,
    }


def write_frame(path: Path, bgr: np.ndarray, attributes: dict[str, Any]) -> None:
    """Write scene-linear BGR as the half-float channels R, G and B."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = bgr.astype(np.float16)
    channels = {name: np.ascontiguousarray(half[..., index]) for index, name in enumerate("BGR")}
    with OpenEXR.File(attributes, channels) as file:
        file.write(str(path))


def make_example(arguments: argparse.Namespace) -> int:
    """Write plate and keys; returns the number of bytes written."""
    written = 0
    frames = read_clip(arguments.clip, skip=arguments.skip, count=arguments.frames)
    for index, full_size in enumerate(frames):
        frame = arguments.first + index
        color = shrink(full_size, arguments.long_side)
        grey = np.repeat(without_color(color)[..., None], 3, axis=2)
        pictures = {"plate": (grey, "grey plate: CIE Lab lightness of the color frame, a = b = 0")}
        if index % arguments.interval == 0:
            pictures["keys"] = (color, "color key frame")
        for name, (display, comments) in pictures.items():
            path = arguments.output / name / f"{name}.{frame:04d}.exr"
            attributes = header(frame, rate=arguments.rate, credit=arguments.credit, comments=comments)
            write_frame(path, srgb_to_linear(display), attributes)
            written += path.stat().st_size
    return written


def main() -> int:
    """The command line."""
    summary, _, details = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=summary, epilog=details, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("clip", type=Path, help="video file that OpenCV can read")
    parser.add_argument("--output", type=Path, required=True, help="folder that gets plate/ and keys/")
    parser.add_argument("--credit", required=True, help="owner and licence of the footage, written into every file")
    parser.add_argument("--skip", type=int, default=0, help="frames of the clip to leave out at its start (default 0)")
    parser.add_argument("--frames", type=int, default=41, help="frames to take (default 41)")
    parser.add_argument("--first", type=int, default=1001, help="number of the first frame written (default 1001)")
    parser.add_argument("--interval", type=int, default=20, help="a key every so many frames (default 20)")
    parser.add_argument("--long-side", type=int, default=320, help="pixels of the longer side (default 320)")
    parser.add_argument("--rate", type=int, default=24, help="frames a second (default 24)")
    arguments = parser.parse_args()
    print(f"{arguments.output}: {make_example(arguments) / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
