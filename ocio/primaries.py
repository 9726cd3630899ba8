"""Published RGB primaries, and the matrices that follow from them.

An OCIO config gives only matrices to ACES2065-1, and those are adapted from the space's own white to the ACES white,
by Bradford for some spaces and by CAT02 for others. Luminance has to be computed with the primaries and the white of
the space itself, so the matrix of a config is matched against the published primaries here, under either adaptation.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

D65 = (0.3127, 0.3290)
ACES_WHITE = (0.32168, 0.33767)

#: Config matrices agree with the published primaries to 1e-14 in the ACES configs; 2e-5 also takes matrices that a
#: config prints with five decimals, while Bradford and CAT02 differ by 3e-3.
MATRIX_TOLERANCE = 2e-5
#: Chromaticities of files are float32, and some writers round to three decimals.
CHROMATICITY_TOLERANCE = 1e-3

#: Bradford: Lam, 1985, as in ICC.1 annex E. CAT02: CIE 159:2004.
_CONE_RESPONSES: dict[str, Matrix] = {
    "Bradford": np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]),
    "CAT02": np.array([[0.7328, 0.4296, -0.1624], [-0.7036, 1.6975, 0.0061], [0.0030, 0.0136, 0.9834]]),
}


@dataclass(frozen=True)
class Primaries:
    """CIE 1931 xy chromaticities of red, green, blue and white, and the name they go by."""

    name: str
    red: tuple[float, float]
    green: tuple[float, float]
    blue: tuple[float, float]
    white: tuple[float, float] = D65

    @property
    def chromaticities(self) -> tuple[float, ...]:
        """The eight numbers in the order of the EXR attribute: red, green, blue, white, x before y."""
        return (*self.red, *self.green, *self.blue, *self.white)


#: The publishers' own numbers. ITU-R BT.709-6, BT.2020-2; SMPTE EG 432-1 with D65 (P3-D65); Adobe RGB (1998); SMPTE ST
#: 2065-1 (AP0); ACES S-2014-004 (AP1); ARRI "LogC" (2017) and "LogC4" (2022) papers; RED "REDWideGamutRGB and Log3G10";
#: Sony "S-Gamut3 / S-Log3" papers and the ACES Venice transforms; Panasonic "V-Log/V-Gamut"; Canon "Cinema Gamut";
#: Blackmagic "DaVinci Wide Gamut" and "Generation 5 Color Science"; DJI "D-Log"; Apple "Apple Log 2".
PUBLISHED: tuple[Primaries, ...] = (
    Primaries("Rec.709", (0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    Primaries("Rec.2020", (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    Primaries("P3-D65", (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    Primaries("Adobe RGB", (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
    Primaries("ACES AP0", (0.7347, 0.2653), (0.0, 1.0), (0.0001, -0.077), ACES_WHITE),
    Primaries("ACES AP1", (0.713, 0.293), (0.165, 0.830), (0.128, 0.044), ACES_WHITE),
    Primaries("ARRI Wide Gamut 3", (0.684, 0.313), (0.221, 0.848), (0.0861, -0.102)),
    Primaries("ARRI Wide Gamut 4", (0.7347, 0.2653), (0.1424, 0.8576), (0.0991, -0.0308)),
    Primaries("REDWideGamutRGB", (0.780308, 0.304253), (0.121595, 1.493994), (0.095612, -0.084589)),
    Primaries("S-Gamut3", (0.730, 0.280), (0.140, 0.855), (0.100, -0.050)),
    Primaries("S-Gamut3.Cine", (0.766, 0.275), (0.225, 0.800), (0.089, -0.087)),
    Primaries(
        "Venice S-Gamut3",
        (0.740464264304292, 0.279364374750660),
        (0.089241145423286, 0.893809528608105),
        (0.110488236673827, -0.052579333080476),
    ),
    Primaries(
        "Venice S-Gamut3.Cine",
        (0.775901871567345, 0.274502392854799),
        (0.188682902773355, 0.828684937020288),
        (0.101337382499301, -0.089187517306263),
    ),
    Primaries("V-Gamut", (0.730, 0.280), (0.165, 0.840), (0.100, -0.030)),
    Primaries("Cinema Gamut", (0.74, 0.27), (0.17, 1.14), (0.08, -0.10)),
    Primaries("DaVinci Wide Gamut", (0.8000, 0.3130), (0.1682, 0.9877), (0.0790, -0.1155)),
    Primaries(
        "Blackmagic Wide Gamut Gen 5",
        (0.7177215, 0.3171181),
        (0.2280410, 0.8615690),
        (0.1005841, -0.0820452),
        (0.3127170, 0.3290312),
    ),
    Primaries("D-Gamut", (0.71, 0.31), (0.21, 0.88), (0.09, -0.08)),
    Primaries("Apple Wide Gamut", (0.725, 0.301), (0.221, 0.814), (0.068, -0.076)),
)
REC709 = PUBLISHED[0]
AP0 = PUBLISHED[4]


def white_to_xyz(white: tuple[float, float]) -> Matrix:
    """XYZ, shape (3,), of a white with Y = 1 given by its CIE 1931 chromaticity."""
    x, y = white
    return np.array([x / y, 1.0, (1.0 - x - y) / y])


def rgb_to_xyz(primaries: Primaries) -> Matrix:
    """Matrix from linear RGB to CIE XYZ, relative to the primaries' own white.

    Args:
        primaries: chromaticities of the three colors and of white.

    Returns:
        (3, 3) float64; row 1 is the luminance weights and the product with (1, 1, 1) is the white with Y = 1.

    Raises:
        ValueError: the primaries lie on one line or the white has y = 0, so there is no such matrix.

    Source: SMPTE RP 177-1993, section 3.3.
    """
    columns = np.array([(x, y, 1.0 - x - y) for x, y in (primaries.red, primaries.green, primaries.blue)]).T
    if not np.all(np.isfinite(primaries.chromaticities)) or primaries.white[1] == 0.0:
        raise ValueError(f"chromaticities {primaries.chromaticities} have no white")
    if abs(np.linalg.det(columns)) < 1e-6:
        raise ValueError(f"chromaticities {primaries.chromaticities} lie on one line")
    scale = np.linalg.solve(columns, white_to_xyz(primaries.white))
    return np.asarray(columns * scale)


def adaptation(source_white: tuple[float, float], target_white: tuple[float, float], method: str) -> Matrix:
    """Chromatic adaptation of XYZ between two whites by von Kries scaling, `method` being "Bradford" or "CAT02"."""
    cone = _CONE_RESPONSES[method]
    gains = (cone @ white_to_xyz(target_white)) / (cone @ white_to_xyz(source_white))
    return np.asarray(np.linalg.inv(cone) @ (gains[:, None] * cone))


@functools.cache
def _adapted_matrices() -> tuple[tuple[Primaries, Matrix], ...]:
    from_xyz = np.linalg.inv(rgb_to_xyz(AP0))
    return tuple(
        (primaries, from_xyz @ adaptation(primaries.white, ACES_WHITE, method) @ rgb_to_xyz(primaries))
        for primaries in PUBLISHED
        for method in _CONE_RESPONSES
    )


def primaries_of_matrix(to_aces: Matrix) -> Primaries:
    """Primaries and white of the linear space that a matrix takes to ACES2065-1.

    Args:
        to_aces: (3, 3) float64, linear RGB to ACES2065-1, whose rows sum to 1.

    Returns:
        The published primaries that give this matrix, else the chromaticities behind it under the assumption that the
        space is relative to D65 and was adapted by Bradford, named "unpublished".

    Raises:
        ValueError: the matrix has no primaries.
    """
    for primaries, matrix in _adapted_matrices():
        if np.abs(matrix - to_aces).max() < MATRIX_TOLERANCE:
            return primaries
    xyz = adaptation(ACES_WHITE, D65, "Bradford") @ rgb_to_xyz(AP0) @ to_aces
    columns = [*xyz.T, xyz.sum(axis=1)]
    if any(abs(column.sum()) < 1e-9 for column in columns):
        raise ValueError("the matrix to ACES2065-1 takes a primary to black")
    red, green, blue, white = ((float(column[0] / column.sum()), float(column[1] / column.sum())) for column in columns)
    return Primaries("unpublished", red, green, blue, white)
