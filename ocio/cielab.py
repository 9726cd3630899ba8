"""The network space of property color: CIE L*a*b* of linear RGB, unbounded, and back at a given luminance."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from stpn.ocio.rows import over_rows

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]
Matrix = npt.NDArray[np.float64]


class LinearSpace(Protocol):
    """What is needed of a color space here; `stpn.ocio.spaces.PlateSpace` is one."""

    @property
    def linear_to_xyz(self) -> Matrix:
        """(3, 3) float64, linear RGB to CIE XYZ relative to the space's own white; row 1 is the luminance weights."""


def _matrix(space: LinearSpace) -> Matrix:
    return np.ascontiguousarray(space.linear_to_xyz, np.float64)


def _check(image: npt.NDArray[np.floating], channels: int, what: str) -> Floats:
    if image.ndim != 3 or image.shape[2] != channels or image.dtype != np.float32:
        raise ValueError(f"expected {what} as float32 of shape (H, W, {channels}), got {image.dtype} {image.shape}")
    return np.ascontiguousarray(image)


def rgb_to_lab(linear_rgb: Floats, space: LinearSpace, *, threads: int = 1) -> tuple[Floats, Floats]:
    """CIE L*a*b* of linear RGB, relative to the space's own white.

    The cube root's linear toe goes on below 0 and nothing is clipped above 1, so that the mapping can be inverted.

    Args:
        linear_rgb: (H, W, 3) float32, scene-linear RGB of `space`.
        space: gives the matrix to XYZ.
        threads: how many bands to work on at once.

    Returns:
        L* (H, W) float32, 0 for black and 100 for white; a* and b* (H, W, 2) float32, about -128..128 below white.

    Raises:
        ValueError: shape or dtype is another one.

    Source: CIE 15:2004, section 8.2.1, equations 8.3 to 8.11.
    """
    from stpn.ocio import _lab_kernels

    rgb = _check(linear_rgb, 3, "linear RGB")
    lightness = np.empty(rgb.shape[:2], np.float32)
    ab = np.empty((*rgb.shape[:2], 2), np.float32)
    to_xyz = _matrix(space)
    matrix = to_xyz / to_xyz.sum(axis=1)[:, None]

    def run(rgb: Floats, lightness: Floats, ab: Floats) -> None:
        _lab_kernels.lab_from_rgb(rgb, matrix, lightness, ab)

    over_rows(run, rgb.reshape(-1, 3), lightness.reshape(-1), ab.reshape(-1, 2), threads=threads)
    return lightness, ab


def luminance_of(linear_rgb: Floats, space: LinearSpace, *, threads: int = 1) -> Floats:
    """Luminance of linear RGB, white = 1: weights @ RGB, summed in float64.

    Args:
        linear_rgb: (H, W, 3) float32, scene-linear RGB of `space`.
        space: gives the luminance weights.
        threads: how many bands to work on at once.

    Returns:
        (H, W) float32.

    Raises:
        ValueError: shape or dtype is another one.
    """
    from stpn.ocio import _lab_kernels

    rgb = _check(linear_rgb, 3, "linear RGB")
    result = np.empty(rgb.shape[:2], np.float32)
    weights = _matrix(space)[1].copy()

    def run(rgb: Floats, result: Floats) -> None:
        _lab_kernels.luminance(rgb, weights, result)

    over_rows(run, rgb.reshape(-1, 3), result.reshape(-1), threads=threads)
    return result


def lightness_from_luminance(luminance: Floats, *, threads: int = 1) -> Floats:
    """CIE L* of luminance relative to white = 1, extended below 0; float32 of the same shape.

    Source: CIE 15:2004, section 8.2.1, equation 8.3.
    """
    from stpn.ocio import _lab_kernels

    result = np.empty(luminance.shape, np.float32)
    over_rows(
        _lab_kernels.lightness,
        np.ascontiguousarray(luminance, np.float32).reshape(-1),
        result.reshape(-1),
        threads=threads,
    )
    return result


def lab_to_rgb(luminance: Floats, ab: Floats, space: LinearSpace, *, threads: int = 1) -> Floats:
    """Linear RGB with a given luminance and a given a* and b*; the inverse of `rgb_to_lab`.

    Args:
        luminance: (H, W) float32, Y relative to white = 1 (not L*).
        ab: (H, W, 2) float32, a* and b*.
        space: gives the matrix to XYZ.
        threads: how many bands to work on at once.

    Returns:
        (H, W, 3) float32, scene-linear RGB of `space`.

    Raises:
        ValueError: shapes or dtypes are other ones.
    """
    from stpn.ocio import _lab_kernels

    if luminance.ndim != 2 or luminance.dtype != np.float32 or ab.shape[:2] != luminance.shape:
        raise ValueError(
            f"expected float32 luminance (H, W) and ab (H, W, 2), got {luminance.dtype} {luminance.shape} and "
            f"{ab.shape}"
        )
    chroma = _check(ab, 2, "a* and b*")
    result = np.empty((*luminance.shape, 3), np.float32)
    to_xyz = _matrix(space)
    weights, inverse = to_xyz[1].copy(), _white_relative(to_xyz)

    def run(luminance: Floats, ab: Floats, result: Floats) -> None:
        _lab_kernels.rgb_from_luminance(luminance, ab, weights, inverse, result)

    flat = np.ascontiguousarray(luminance).reshape(-1)
    over_rows(run, flat, chroma.reshape(-1, 2), result.reshape(-1, 3), threads=threads)
    return result


def colorize(plate_linear: Floats, ab: Floats, space: LinearSpace, *, threads: int = 1) -> Floats:
    """Gives a plate the colors ab and keeps its luminance.

    Args:
        plate_linear: (H, W, 3) float32, scene-linear RGB of `space`; only its luminance is used.
        ab: (H, W, 2) float32, a* and b*.
        space: gives the matrix to XYZ and, in its row 1, the luminance weights.
        threads: how many bands to work on at once.

    Returns:
        (H, W, 3) float32, scene-linear RGB of `space`, whose weights @ RGB is that of the plate to 1e-5 of
        max(|Y|, 1e-3), whatever ab. A pixel of the plate with infinity or NaN comes back as it is; one of ab is grey.

    Raises:
        ValueError: shapes or dtypes are other ones.
    """
    from stpn.ocio import _lab_kernels

    plate = _check(plate_linear, 3, "the plate")
    chroma = _check(ab, 2, "a* and b*")
    if chroma.shape[:2] != plate.shape[:2]:
        raise ValueError(f"expected a plate and ab of one size, got {plate.shape[:2]} and {chroma.shape[:2]}")
    result = np.empty_like(plate)
    to_xyz = _matrix(space)
    weights, inverse = to_xyz[1].copy(), _white_relative(to_xyz)

    def run(plate: Floats, ab: Floats, result: Floats) -> None:
        _lab_kernels.colorize(plate, ab, weights, inverse, result)

    over_rows(run, plate.reshape(-1, 3), chroma.reshape(-1, 2), result.reshape(-1, 3), threads=threads)
    return result


def _white_relative(to_xyz: Matrix) -> Matrix:
    """Matrix from XYZ divided by the white's XYZ to linear RGB; its rows sum to 1."""
    return np.ascontiguousarray(np.linalg.inv(to_xyz / to_xyz.sum(axis=1)[:, None]))


def round_to_half_keeping_luminance(rgb: Floats, luminance: Floats, weights: Matrix, *, threads: int = 1) -> Halves:
    """Rounds to half floats so that the luminance stays.

    Channels that cancel lose luminance when each is rounded for itself. Where that costs more than 5e-4 of
    max(|Y|, 1e-3), one channel is computed anew from the two others as rounded, the one that leaves the least error;
    where that is not enough, the two others move by as few steps of half floats as it takes. Where a channel does not
    fit into half floats, the pixel is first scaled toward its grey.

    Args:
        rgb: (H, W, 3) float32, linear RGB whose luminance is about `luminance`.
        luminance: (H, W) float32, the luminance to keep.
        weights: (3,) float64, luminance weights of the space.
        threads: how many bands to work on at once.

    Returns:
        (H, W, 3) float16, finite where `rgb` and `luminance` are; a luminance that no half floats have (above 65504
        for positive weights) becomes the nearest that they have.

    Raises:
        ValueError: shapes or dtypes are other ones.
    """
    from stpn.ocio import _lab_kernels

    values = _check(rgb, 3, "linear RGB")
    if luminance.shape != values.shape[:2] or luminance.dtype != np.float32:
        raise ValueError(
            f"expected float32 luminance of shape {values.shape[:2]}, got {luminance.dtype} {luminance.shape}"
        )
    result = np.empty(values.shape, np.uint16)
    weights = np.ascontiguousarray(weights, np.float64)

    def run(rgb: Floats, luminance: Floats, result: npt.NDArray[np.uint16]) -> None:
        _lab_kernels.round_to_half(rgb, luminance, weights, result)

    flat = np.ascontiguousarray(luminance).reshape(-1)
    over_rows(run, values.reshape(-1, 3), flat, result.reshape(-1, 3), threads=threads)
    return result.view(np.float16)
