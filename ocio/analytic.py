"""Color transforms as formulas: OCIO's processors without OCIO, for images that live on a GPU.

OCIO writes shaders, but none in CUDA; what it does list is the operations of a processor. Here they become small
dataclasses that run in torch on the device of the image. A processor with a table in it is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stpn.ocio import analytic_curves as curves
from stpn.ocio import analytic_ops as ops
from stpn.ocio.analysis import analyse
from stpn.ocio.analytic_ops import Operation
from stpn.ocio.analytic_reading import operations_of, refusal, single, singles
from stpn.ocio.config import Config
from stpn.ocio.working import LogForm, WorkingCurve

if TYPE_CHECKING:
    from torch import Tensor

    from stpn.ocio.spaces import PlateSpace

__all__ = ["Analytic", "analytic", "conversion", "decoding", "encoding", "from_processor", "working"]


@dataclass(frozen=True)
class Analytic:
    """A conversion between two color spaces as a list of formulas; needs neither config nor OCIO, can be pickled.

    Attributes:
        source: the space it takes, for people.
        target: the space it makes, for people.
        operations: what is done, in this order; none where both spaces are alike.
    """

    source: str
    target: str
    operations: tuple[Operation, ...]

    def apply(self, image: Tensor) -> Tensor:
        """Converts an image.

        Args:
            image: (B, 3, H, W) float32 on any device, values of the source space, RGB without alpha; not changed.
                Below 0, above 1, infinity and NaN are fine and come out as from OCIO's CPU.

        Returns:
            (B, 3, H, W) float32 on the same device, values of the target space, clamped only where the config clamps;
            the image itself where there is nothing to do. Within 1e-5 of OCIO's CPU without its fast approximations,
            absolute to 1 and relative above, where no matrix cancels numbers that are larger still.

        Raises:
            ValueError: shape or dtype is another one.
        """
        import torch

        if image.dtype != torch.float32 or image.ndim != 4 or image.shape[1] != 3:
            dtype = str(image.dtype).removeprefix("torch.")
            raise ValueError(
                f"expected a float32 image of shape (B, 3, H, W), got {dtype} {tuple(image.shape)}, for"
                f" {self.source!r} to {self.target!r}; convert it to float32 RGB first"
            )
        for operation in self.operations:
            image = operation.apply(image)
        return image

    def described(self) -> str:
        """One line for people: "ARRI LogC4 to ACEScg: camera antilog, matrix"."""
        steps = ", ".join(operation.described() for operation in self.operations)
        return f"{self.source} to {self.target}: {steps or 'nothing to do'}"


def analytic(config: Config, source: str, target: str) -> Analytic:
    """The conversion from one color space of a config to another.

    Args:
        config: the config.
        source: name, role or alias of the space of the pixels.
        target: name, role or alias of the space wanted.

    Raises:
        ColorError: no such space, a data space, a conversion the config cannot do, or one that is no formula.
    """
    first, last = config.color_space(source).name, config.color_space(target).name
    processor = config.processor(first, last, what=f"taking {first!r} to {last!r}")
    return from_processor(processor, source=first, target=last, where=config.origin)


def decoding(config: Config, space: str) -> Analytic:
    """What `PlateSpace.decode` does: code values to linear light in the primaries of the space itself.

    Args:
        config: the config.
        space: name, role or alias of a color space.

    Raises:
        ColorError: no such space, a data space, one the config cannot linearise, or one that is no formula.
    """
    return _coding(config, space, encode=False)


def encoding(config: Config, space: str) -> Analytic:
    """What `PlateSpace.encode` does: the inverse of `decoding`, with the same arguments and errors."""
    return _coding(config, space, encode=True)


def conversion(source: PlateSpace, target: PlateSpace) -> Analytic:
    """What `target.convert_from(source, ...)` does: linear light in one space's primaries to that in another's.

    Args:
        source: the space whose linear light the pixels are.
        target: the space whose linear light is wanted, of the same config.
    """
    matrix = target.conversion_from(source)
    names = f"linear light of {source.name}", f"linear light of {target.name}"
    if matrix is None:
        return Analytic(*names, ())
    rows = [singles(row) for row in matrix]
    return Analytic(*names, (ops.Matrix((rows[0], rows[1], rows[2])),))


def working(curve: WorkingCurve, *, encode: bool) -> Analytic:
    """What `WorkingCurve.encode` or `decode` does: linear light to code values less the curve's `black`, or back.

    Args:
        curve: the curve of --working.
        encode: True for linear light to code.

    Raises:
        ColorError: the curve is a table.
    """
    names = ("linear light", f"{curve.name} less black") if encode else (f"{curve.name} less black", "linear light")
    form = curve.form
    if form is None:
        return Analytic(*names, ())
    if not isinstance(form, LogForm):
        raise refusal("a table", *names, f"working curve {curve.name!r}")
    log_slope = form.log_slope / math.log(form.base)
    from_black = form.lin_break <= 0.0
    offset = form.linear_offset - curve.black
    # Where 0 lies on the logarithm, its two large offsets cancel: ln(a x + b) - ln(b) is ln(1 + a x / b).
    operation = curves.WorkingLog(
        log_slope=single(log_slope),
        log_offset=single(form.log_offset - curve.black),
        lin_slope=single(form.lin_slope / form.lin_offset if from_black else form.lin_slope),
        lin_offset=single(form.lin_offset),
        lin_break=single(form.lin_break),
        code_break=single(form.linear_slope * form.lin_break + offset),
        linear_slope=single(form.linear_slope),
        linear_offset=single(offset),
        from_black=from_black,
        is_inverse=not encode,
    )
    return Analytic(*names, (operation,))


def from_processor(processor: Any, *, source: str, target: str, where: str) -> Analytic:
    """The formulas of an OCIO processor.

    Args:
        processor: a PyOpenColorIO.Processor.
        source: what it takes, for messages.
        target: what it makes, for messages.
        where: the config, for messages.

    Raises:
        ColorError: the processor has an operation that is no formula, or one that is not known here.
    """
    import PyOpenColorIO as ocio

    # Lossless as in `stpn.ocio.spaces`; more would bake curves into tables.
    transforms = processor.getOptimizedProcessor(ocio.OPTIMIZATION_LOSSLESS).createGroupTransform()
    return Analytic(source, target, operations_of(transforms, source, target, where))


def _coding(config: Config, name: str, *, encode: bool) -> Analytic:
    import PyOpenColorIO as ocio

    analysis = analyse(config, name)
    space = analysis.name
    if not analysis.separable:
        linear = config.scene_linear().name
        return analytic(config, linear, space) if encode else analytic(config, space, linear)
    light = f"linear light of {space}"
    if not analysis.operations:
        return Analytic(light, space, ()) if encode else Analytic(space, light, ())
    direction = (
        ocio.TransformDirection.TRANSFORM_DIR_INVERSE if encode else ocio.TransformDirection.TRANSFORM_DIR_FORWARD
    )
    what = f"writing {space!r}" if encode else f"reading {space!r}"
    processor = config.processor(ocio.GroupTransform(list(analysis.operations)), direction, what=what)
    source, target = (light, space) if encode else (space, light)
    return from_processor(processor, source=source, target=target, where=config.origin)
