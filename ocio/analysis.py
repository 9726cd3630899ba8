"""A color space taken apart: a curve for each channel, then a matrix; and the primaries behind the matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stpn.ocio.config import ColorError, Config
from stpn.ocio.primaries import REC709, Matrix, Primaries, primaries_of_matrix, rgb_to_xyz

#: ACES2065-1 in configs that predate the role aces_interchange.
_ACES_NAMES = ("aces_interchange", "ACES2065-1", "lin_ap0", "ACES - ACES2065-1")


@dataclass(frozen=True)
class Analysis:
    """A space of a config taken apart: a curve for each channel, then a matrix.

    Attributes:
        name: the space's own name in the config.
        operations: the OCIO transforms, one channel at a time, from code values to linear light; empty where linear.
        to_reference: (3, 3) float64, linear light to the config's reference (ACES2065-1 where the config has it).
        separable: False where the space is no curve and matrix (a 3D LUT, a display rendering); its linear light is
            then that of role scene_linear, to which `to_reference` belongs.
        primaries: primaries and white of the linear light.
        primaries_source: where those come from, for people.
    """

    name: str
    operations: tuple[Any, ...]
    to_reference: Matrix
    separable: bool
    primaries: Primaries
    primaries_source: str


def _reference(config: Config) -> tuple[str, bool]:
    """Name of the space that matrices lead to, and whether it is ACES2065-1."""
    for name in _ACES_NAMES:
        info = config.find(name)
        if info is not None and not info.is_data:
            return info.name, True
    return config.scene_linear().name, False


def reference_space(config: Config) -> str:
    """Name of the space that `Analysis.to_reference` leads to."""
    return _reference(config)[0]


def _operations(config: Config, source: str, target: str) -> list[Any]:
    import PyOpenColorIO as ocio

    processor = config.processor(source, target, what=f"taking {source!r} to {target!r}")
    return list(processor.getOptimizedProcessor(ocio.OPTIMIZATION_LOSSLESS).createGroupTransform())


def _matrix_of(operation: Any) -> Matrix | None:
    """The 3x3 of a matrix operation without offset and alpha terms, else None."""
    import PyOpenColorIO as ocio

    if not isinstance(operation, ocio.MatrixTransform) or any(operation.getOffset()):
        return None
    matrix = np.array(operation.getMatrix(), np.float64).reshape(4, 4)
    if np.any(matrix[3, :3]) or np.any(matrix[:3, 3]):
        return None
    if operation.getDirection() == ocio.TransformDirection.TRANSFORM_DIR_INVERSE:
        matrix = np.asarray(np.linalg.inv(matrix), np.float64)
    return np.ascontiguousarray(matrix[:3, :3])


def _is_channelwise(operation: Any) -> bool:
    import PyOpenColorIO as ocio

    if isinstance(operation, ocio.Lut1DTransform):
        return bool(operation.getHueAdjust() == ocio.Lut1DHueAdjust.HUE_NONE)
    if isinstance(operation, ocio.MatrixTransform):
        matrix = np.array(operation.getMatrix()).reshape(4, 4)
        return not np.any(matrix - np.diag(np.diag(matrix)))
    return isinstance(
        operation,
        (
            ocio.ExponentTransform,
            ocio.ExponentWithLinearTransform,
            ocio.LogTransform,
            ocio.LogAffineTransform,
            ocio.LogCameraTransform,
            ocio.RangeTransform,
        ),
    )


def analyse(config: Config, name: str) -> Analysis:
    """Takes a space apart into a curve and a matrix; kept per config.

    Args:
        config: the config.
        name: name, role or alias of a color space.

    Raises:
        ColorError: no such space, a data space, or one that the config cannot take to its reference.
    """
    info = config.color_space(name)
    key = ("analysis", info.name)
    if key not in config.kept:
        config.kept[key] = _analyse(config, info.name)
    found = config.kept[key]
    assert isinstance(found, Analysis)
    return found


def _analyse(config: Config, name: str) -> Analysis:
    import PyOpenColorIO as ocio

    reference, is_aces = _reference(config)
    operations = _operations(config, name, reference)
    # ACEScc ends in a clamp of ACES2065-1 to the range of half floats: no part of the curve, and values must survive.
    while operations and isinstance(operations[-1], ocio.RangeTransform) and len(operations) > 1:
        operations.pop()
    to_reference = np.eye(3)
    while operations and (matrix := _matrix_of(operations[-1])) is not None:
        to_reference = to_reference @ matrix
        operations.pop()
    if not all(_is_channelwise(operation) for operation in operations):
        linear = config.scene_linear().name
        if linear == name:
            raise ColorError(
                f"expected a linear space for role scene_linear, got {name!r}, which is no matrix away from"
                f" {reference!r}, in {config.origin}; choose another config"
            )
        base = analyse(config, linear)
        return Analysis(name, (), base.to_reference, False, base.primaries, base.primaries_source)
    if is_aces:
        try:
            primaries = primaries_of_matrix(to_reference)
            rgb_to_xyz(primaries)
        except ValueError as error:
            raise ColorError(
                f"expected a color space that can be inverted, but {error}, for {name!r} in {config.origin};"
                " choose another space"
            ) from error
        source = f"{primaries.name} primaries, from the matrix of {name!r} in the config"
    else:
        # Without ACES2065-1 a config does not say what its reference is; OCIO's luma weights are all that is left.
        luma = np.array(config.native.getDefaultLumaCoefs())
        if np.abs(luma - rgb_to_xyz(REC709)[1]).max() > 1e-3:
            raise ColorError(
                f"expected the role aces_interchange, found none, and luma weights {luma.tolist()} that are not"
                f" Rec.709's, in {config.origin}; add the role"
            )
        primaries = REC709
        source = "Rec.709 primaries, from the config's luma weights (it has no role aces_interchange)"
    return Analysis(name, tuple(operations), to_reference, True, primaries, source)
