"""A conversion, checked whole before anything is written: every frame inspected, every part decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stpn.ocio.attributes import linear_primaries, space_from_attributes
from stpn.ocio.config import ColorError, Config, load_config
from stpn.ocio.convert_channels import ColorLayer, chosen_parts, color_layers
from stpn.ocio.convert_color import ColorTransform, color_transform
from stpn.ocio.convert_plan_exr import plan_exr
from stpn.ocio.convert_plan_raster import plan_raster
from stpn.ocio.convert_request import ConvertRequest, ConvertRequestError
from stpn.ocio.convert_steps import Asked, FilePlan
from stpn.ocio.exr_header import NotRewritable
from stpn.ocio.plate_info import PartInfo, PlateError, PlateInfo
from stpn.ocio.plate_read import FORMATS, inspect_plate

_ABOUT_COLOR = ("colorInteropID", "acesImageContainerFlag", "dpx:Transfer", "oiio:ColorSpace", "chromaticities")


class Planner:
    """Plans files one after the other; keeps transforms and decisions that files share.

    Attributes:
        config: None where no color was asked for.
        decisions: What was chosen and why, one line each, for people.
    """

    def __init__(self, request: ConvertRequest) -> None:
        """Takes a request that `check_request` found right.

        Raises:
            ColorError: The config cannot be opened.
        """
        self.request = request
        self.config: Config | None = None
        self.decisions: dict[str, None] = {}
        self._transforms: dict[str, ColorTransform] = {}
        self._spaces: dict[tuple[str, ...], str] = {}
        if request.wants_color:
            self.config = load_config(request.ocio)
            self.decisions[f"config: {self.config.origin}"] = None

    def plan(self, frame: int | None, source: Path, target: Path) -> FilePlan:
        """Decides what is done to a file; reads its header only.

        Raises:
            PlateError: It cannot be read, or not be rewritten.
            ColorError, ConvertRequestError: What was asked for cannot be done to it.
        """
        request = self.request
        to_exr = FORMATS[target.suffix.lower()] == "exr"
        try:
            info = inspect_plate(source)
        except PlateError as error:
            if isinstance(error.__context__, NotRewritable) and to_exr and not request.wants_change:
                why = str(error).removeprefix(f"{source}: ")
                return FilePlan(frame, source, target, None, True, notes=(f"copied byte for byte, undecoded: {why}",))
            raise
        chosen = chosen_parts(info, request.parts)
        layers = color_layers(info, chosen, request.channels)
        transform = self._transform(info, layers)
        linear_light = transform is None or (
            self.config is not None and linear_primaries(self.config, transform.source) is not None
        )
        asked = Asked(request, self.config, frame, info, target, layers, transform, linear_light)
        if not to_exr:
            return plan_raster(asked)
        return plan_exr(asked, chosen, says=lambda part: self._says(info, part))

    def _transform(self, info: PlateInfo, layers: Sequence[ColorLayer]) -> ColorTransform | None:
        request, config = self.request, self.config
        if config is None:
            return None
        if not layers:
            raise ConvertRequestError(
                f"{info.path}: expected channels that are color, found"
                f" {', '.join(name for part in info.parts for name in part.channel_names[:12])}; name them with"
                " --channels"
            )
        source = self._source_space(config, info, layers)
        if source not in self._transforms:
            self._transforms[source] = color_transform(
                config,
                source,
                target=request.to_space,
                look=request.look,
                display=request.display,
                view=request.view,
                device=request.device,
            )
            self.decisions[f"color: {self._transforms[source].described()}"] = None
        transform = self._transforms[source]
        grey = [layer for layer in layers if len(layer.channels) == 1]
        if grey and not transform.keeps_grey:
            raise ConvertRequestError(
                f"{info.path}: expected red, green and blue for {transform.described()}, which does not keep grey, got"
                f" {', '.join(layer.channels[0] for layer in grey)} alone; leave it out with --channels"
            )
        return transform

    def _source_space(self, config: Config, info: PlateInfo, layers: Sequence[ColorLayer]) -> str:
        if self.request.from_space is not None:
            return config.color_space(self.request.from_space).name
        found: dict[str, int] = {}
        for part in sorted({layer.part for layer in layers}):
            found.setdefault(self._space_of(config, info, info.parts[part]), part)
        if len(found) > 1:
            said = ", ".join(f"{space} in part {part}" for space, part in found.items())
            raise ConvertRequestError(f"{info.path}: expected one color space, got {said}; pass --from or --parts")
        return next(iter(found))

    def _space_of(self, config: Config, info: PlateInfo, part: PartInfo) -> str:
        pixel_type = part.channels[0].pixel_type
        # a part that says nothing goes with the first one that does: chromaticities belong to all by the format
        said = (_about_color(one) for one in (part, *info.parts))
        about = next((found for found in said if found), {})
        key = (info.format, pixel_type, repr(about))
        if key not in self._spaces:
            try:
                decision = space_from_attributes(config, about, file_format=info.format, pixel_type=pixel_type)
            except ColorError as error:
                raise ColorError(f"{info.path}: {str(error).replace('--colorspace', '--from')}") from error
            self._spaces[key] = decision.space
            self.decisions[f"from: {decision.space}, {decision.reason}"] = None
        return self._spaces[key]

    def _says(self, info: PlateInfo, part: PartInfo) -> str | None:
        assert self.config is not None
        try:
            return self._space_of(self.config, info, part)
        except ColorError:
            return None


def _about_color(part: PartInfo) -> dict[str, object]:
    return {name: part.attributes[name] for name in _ABOUT_COLOR if name in part.attributes}
