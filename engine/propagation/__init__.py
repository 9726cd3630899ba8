"""The propagation operator of the paper: equation (4) in four directions, joined by the node-wise maximum.

`reference.py` is the definition. `cpu.py` is the same in numba, `cuda.py` on an NVIDIA GPU; every backend answers
to the definition, values and gradients. The derivation, the entries of G and what the switch gives exactly:
`README.md` in this folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stpn.engine.propagation.directions import Direction

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Direction", "normalize_gates", "propagate", "switch"]


def propagate(property_map: Tensor, gates: Tensor) -> Tensor:
    """Propagates a property map with the backend that its device calls for.

    The meaning, with x the property map, w the gates of a direction and j the three neighbours in the column (or row)
    before column i::

        for direction in Direction:
            y[direction] = x.copy()
            for i in columns_after_the_first(direction):
                for p in pixels_of_column(i):
                    y[direction][p] = (1 - sum(w[p, j] for j in 3)) * x[p] + sum(w[p, j] * y[direction][j] for j in 3)
        return maximum(y)

    Args:
        property_map: (B, C, H, W) float32, float64, or on a GPU half; any range; `x` above.
        gates: (B, 4, C or 1, 3, H, W) in the same dtype, directions in the order of `Direction`, used as they are:
            `normalize_gates` makes them stable. The three neighbours are, for the horizontal directions, the rows
            above, level and below, for the vertical ones the columns left, straight and right. A neighbour outside
            the picture counts as a gate of zero.

    Returns:
        (B, C, H, W), the node-wise maximum of the four results; ties take the gradient of the first direction.

    Raises:
        ValueError: a shape, dtype or device does not fit; the message names both.

    Source: Liu et al., Switchable Temporal Propagation Network, ECCV 2018, equation (4) and section 4.
    """
    from stpn.engine.propagation import cpu, reference

    reference.check(property_map, gates)
    if property_map.device.type == "cpu":
        return cpu.propagate_cpu(property_map, gates)
    if property_map.device.type == "cuda":
        from stpn.engine.propagation.cuda import DTYPES, propagate_cuda

        if property_map.dtype in DTYPES:
            return propagate_cuda(property_map, gates)
    return reference.propagate_reference(property_map, gates)


def normalize_gates(gates: Tensor) -> Tensor:
    """Divides the three gates of a pixel by the sum of their magnitudes where that sum exceeds 1.

    Args:
        gates: (B, 4, C or 1, 3, H, W), any range.

    Returns:
        The same shape, sum over axis 3 of |w| at most 1, so that the recursion cannot grow.

    Source: Liu et al., Learning Affinity via Spatial Propagation Networks, NIPS 2017, section 3.3.
    """
    return gates / gates.abs().sum(dim=3, keepdim=True).clamp(min=1)


def switch(gates: Tensor) -> Tensor:
    """Exchanges the gates of opposite directions: P_right with P_left and P_down with P_up.

    Args:
        gates: (B, 4, C or 1, 3, H, W).

    Returns:
        The same shape. Propagating with them stands for the transpose of G; `README.md` says how exactly.

    Source: Switchable Temporal Propagation Network, section 3.2.
    """
    return gates[:, [direction.opposite for direction in Direction]]
