"""Plate space <-> linear light in the plate's own primaries, and from one plate space's linear light to another's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stpn.ocio.analysis import analyse, reference_space
from stpn.ocio.config import ColorError, Config
from stpn.ocio.primaries import Matrix, Primaries, rgb_to_xyz
from stpn.ocio.rows import over_rows
from stpn.ocio.working import WorkingCurve, curve_from_operations

__all__ = ["PlateSpace", "WorkingCurve", "working_curve"]

Image = npt.NDArray[np.float32]

#: Matrices of one linear light, inverted and multiplied in float64.
_IDENTITY_TOLERANCE = 1e-9


class PlateSpace:
    """The color space of a plate: its code values, its linear light, its luminance.

    "Linear" below is scene-linear light in the primaries of the space itself; where the space is no curve and matrix
    (`is_separable` False), it is that of the config's role scene_linear.

    Attributes:
        name: the space's own name in the config.
        luminance_weights: (3,) float64, Y = luminance_weights @ linear RGB, by the space's own primaries and white.
        linear_to_xyz: (3, 3) float64, linear RGB to CIE XYZ relative to the space's own white; row 1 is
            `luminance_weights`, the product with (1, 1, 1) is the white.
        primaries: the chromaticities behind both.
        primaries_source: where those come from, for people.
        is_linear: True if code values are linear light, so that decode and encode touch nothing.
        is_separable: True if the space is a curve for each channel and a matrix.
    """

    def __init__(self, config: Config, space: str, *, chromaticities: Sequence[float] | None = None) -> None:
        """Prepares a space.

        Args:
            config: the config.
            space: name, role or alias of a color space.
            chromaticities: red, green, blue and white xy of the file, eight numbers; they then give luminance and XYZ
                in place of the config's. Conversions stay the config's.

        Raises:
            ColorError: no such space, a data space, a space the config cannot linearise, or impossible chromaticities.
        """
        analysis = analyse(config, space)
        self._config = config
        self._analysis = analysis
        self.name = analysis.name
        self.is_separable = analysis.separable
        self.is_linear = analysis.separable and not analysis.operations
        self.primaries = analysis.primaries
        self.primaries_source = analysis.primaries_source
        if chromaticities is not None:
            if len(chromaticities) != 8:
                raise ColorError(f"expected 8 chromaticities, got {len(chromaticities)}; repair the file's attribute")
            x = [float(value) for value in chromaticities]
            self.primaries = Primaries("the file's", (x[0], x[1]), (x[2], x[3]), (x[4], x[5]), (x[6], x[7]))
            self.primaries_source = "chromaticities of the file"
        try:
            self.linear_to_xyz = rgb_to_xyz(self.primaries)
        except ValueError as error:
            raise ColorError(
                f"expected primaries that span a gamut, but {error}, for {self.name!r}; pass --colorspace"
            ) from error
        self.luminance_weights = np.ascontiguousarray(self.linear_to_xyz[1])
        self._processors: dict[bool, Any] = {}

    def __repr__(self) -> str:
        return f"PlateSpace({self.name!r})"

    def decode(self, image: Image, *, threads: int = 1) -> None:
        """Code values to linear light, in place.

        Args:
            image: (H, W, 3) float32, C-contiguous, RGB without alpha; untouched if `is_linear`.
            threads: how many bands of rows to work on at once.

        Raises:
            ColorError: the config cannot linearise the space.
            ValueError: shape, dtype or layout is another one.
        """
        _check_image(image)
        if not self.is_linear and image.size:
            _apply(self._processor(encode=False), image, threads)

    def encode(self, image: Image, *, threads: int = 1) -> None:
        """Linear light to code values, in place; the inverse of `decode`, with the same arguments.

        Raises:
            ColorError: the config cannot invert the space; `check_encodable` says so beforehand.
            ValueError: shape, dtype or layout is another one.
        """
        _check_image(image)
        if not self.is_linear and image.size:
            _apply(self._processor(encode=True), image, threads)

    def check_encodable(self) -> None:
        """Makes sure that pixels can be written in this space.

        Raises:
            ColorError: the config cannot take linear light to this space.
        """
        if not self.is_linear:
            self._processor(encode=True)

    def convert_from(self, other: PlateSpace, linear: Image, *, threads: int = 1) -> None:
        """Linear light of another space to linear light of this one, in place.

        Args:
            other: the space that `linear` is in, of the same config.
            linear: (H, W, 3) float32, C-contiguous; untouched where both spaces share their linear light.
            threads: how many bands of rows to work on at once.

        Raises:
            ColorError: the spaces come from different configs.
            ValueError: shape, dtype or layout is another one.
        """
        _check_image(linear)
        if other._config is not self._config:
            raise ColorError(
                f"expected two spaces of one config, got {self.name!r} of {self._config.origin} and {other.name!r} of"
                f" {other._config.origin}; use one config"
            )
        matrix = self.conversion_from(other)
        if matrix is None or not linear.size:
            return
        from stpn.ocio import _curve_kernels

        # Not cv2.transform: its bits depend on where a band of rows ends.
        def transform(rows: Image) -> None:
            _curve_kernels.multiply(rows.reshape(-1, 3), matrix)

        over_rows(transform, linear, threads=threads)

    def conversion_from(self, other: PlateSpace) -> Matrix | None:
        """The (3, 3) float64 matrix of `convert_from`, or None where nothing is to be done."""
        if self.name == other.name:
            return None
        matrix: Matrix = np.ascontiguousarray(
            np.linalg.solve(self._analysis.to_reference, other._analysis.to_reference), np.float64
        )
        return None if np.abs(matrix - np.eye(3)).max() < _IDENTITY_TOLERANCE else matrix

    def fingerprint(self) -> str:
        """What conversions from and to this space compute, in short: alike for spaces that compute the same, whatever
        they are called and wherever config and LUTs lie; other for any other LUT, matrix or primaries."""
        config, known = self._config, ("fingerprint", self.name)
        if known not in config.kept:
            ends = [reference_space(config)] + ([] if self.is_separable else [config.scene_linear().name])
            found = [config.processor(self.name, end, what=f"reading {self.name!r}").getCacheID() for end in ends]
            config.kept[known] = " ".join(found)
        analysis = self._analysis
        numbers = np.concatenate([analysis.to_reference, self.linear_to_xyz]).tobytes().hex()
        return f"{config.kept[known]} {analysis.separable} {numbers}"

    def _processor(self, *, encode: bool) -> Any:
        import PyOpenColorIO as ocio

        if encode not in self._processors:
            forward, inverse = (
                ocio.TransformDirection.TRANSFORM_DIR_FORWARD,
                ocio.TransformDirection.TRANSFORM_DIR_INVERSE,
            )
            what = f"writing {self.name!r}" if encode else f"reading {self.name!r}"
            if self.is_separable:
                group = ocio.GroupTransform(list(self._analysis.operations))
                processor = self._config.processor(group, inverse if encode else forward, what=what)
            else:
                linear = self._config.scene_linear().name
                ends = (linear, self.name) if encode else (self.name, linear)
                processor = self._config.processor(*ends, what=what)
            # Lossless leaves out OCIO's fast logarithms and its clamping LUT inversion.
            self._processors[encode] = processor.getOptimizedCPUProcessor(ocio.OPTIMIZATION_LOSSLESS)
        return self._processors[encode]


def working_curve(config: Config, name: str = "linear") -> WorkingCurve:
    """The curve named by --working: "linear", or a log space of the config ("ACEScct", "ARRI LogC4").

    Only the curve of the space is used, on the plate's own primaries: a matrix between would lose the small channel
    beside a large one.

    Args:
        config: the config.
        name: "linear", or name, role or alias of a space that is a curve and a matrix.

    Raises:
        ColorError: no such space, a data space, or one whose curve is no monotone function of one channel.
    """
    if name.casefold() == "linear":
        return WorkingCurve.linear()
    analysis = analyse(config, name)
    if not analysis.separable:
        raise ColorError(
            f"expected a working curve of one channel, got {analysis.name!r}, which mixes channels, in {config.origin};"
            " use linear or a camera log"
        )
    return curve_from_operations(analysis.name, analysis.operations)


def _check_image(image: Image) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.float32 or not image.flags.c_contiguous:
        raise ValueError(
            f"expected a contiguous float32 image of shape (H, W, 3), got {image.dtype} {image.shape}"
            f"{'' if image.flags.c_contiguous else ', not contiguous'}"
        )


def _apply(processor: Any, image: Image, threads: int) -> None:
    import PyOpenColorIO as ocio

    def apply(rows: Image) -> None:
        processor.apply(ocio.PackedImageDesc(rows, rows.shape[1], rows.shape[0], 3))

    over_rows(apply, image, threads=threads)
