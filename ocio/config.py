"""Finding, opening and listing an OCIO config; closest-name errors."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: The newest studio config that PyOpenColorIO 2.6 has built in, by its full name, so that a newer library changes no
#: picture. The cg-config of the same generation has no camera log space except ACEScc and ACEScct.
BUILTIN_CONFIG = "studio-config-v5.0.0_aces-v2.1_ocio-v2.6"


class ColorError(Exception):
    """A color request that cannot be met; one line: what was expected, what came, where, what to do."""


@dataclass(frozen=True)
class ColorSpaceInfo:
    """What a config says of one color space.

    Attributes:
        name: the space's own name in the config.
        family: group of the space, "" where the config has none.
        encoding: OCIO's encoding (scene-linear, log, sdr-video, hdr-video, data ...), "" where the config has none.
        aliases: other names of the space.
        roles: roles that the space has in the config.
        interop_id: the Color Interop Forum's identifier, "" where the config has none.
        is_data: True if the values are no color and must not be converted.
    """

    name: str
    family: str
    encoding: str
    aliases: tuple[str, ...]
    roles: tuple[str, ...]
    interop_id: str
    is_data: bool


class Config:
    """One OCIO config and where it came from.

    Attributes:
        native: the PyOpenColorIO.Config.
        origin: what was opened and why, for people: "--ocio show.ocio", "$OCIO (show.ocio)", "built-in studio-...".
    """

    def __init__(self, *, native: Any, origin: str) -> None:
        self.native = native
        self.origin = origin
        self._spaces: dict[str, ColorSpaceInfo] | None = None
        #: Results that other modules keep per config (`stpn.ocio.spaces`), keyed by what they were computed from.
        self.kept: dict[Any, Any] = {}

    def spaces(self) -> tuple[ColorSpaceInfo, ...]:
        """All spaces of the config, scene- and display-referred, in the config's order, inactive ones too."""
        return tuple(self._table().values())

    def space(self, name: str) -> ColorSpaceInfo:
        """The space that a name, role, alias or interop ID means, whatever the case of its letters.

        Raises:
            ColorError: the config has no such space; the closest names are in the message.
        """
        found = self.find(name)
        if found is None:
            raise ColorError(self._unknown(name))
        return found

    def find(self, name: str) -> ColorSpaceInfo | None:
        """Like `space`, but None where there is none."""
        table = self._table()
        native = self.native.getColorSpace(name) if name else None
        if native is not None:
            return table[native.getName()]
        wanted = name.casefold()
        return next((info for info in table.values() if info.interop_id and info.interop_id.casefold() == wanted), None)

    def role(self, name: str) -> ColorSpaceInfo | None:
        """The space of a role such as "scene_linear", or None where the config does not define it."""
        if not self.native.hasRole(name):
            return None
        return self._table()[self.native.getColorSpace(name).getName()]

    def scene_linear(self) -> ColorSpaceInfo:
        """The space of role scene_linear.

        Raises:
            ColorError: the config does not define the role.
        """
        found = self.role("scene_linear")
        if found is None:
            raise ColorError(
                f"expected the role scene_linear, found none, in {self.origin}; add the role or choose another config"
            )
        return found

    def color_space(self, name: str) -> ColorSpaceInfo:
        """Like `space`, but only for spaces that hold color.

        Raises:
            ColorError: no such space, or it holds data.
        """
        info = self.space(name)
        if info.is_data:
            raise ColorError(
                f"expected a color space, got {info.name!r}, which holds data, in {self.origin};"
                " name the space of the pixels"
            )
        return info

    def processor(self, source: Any, target: Any, *, what: str) -> Any:
        """PyOpenColorIO.Processor between two spaces (names), or of a transform and a direction.

        Args:
            source: name of the source space, or a PyOpenColorIO transform.
            target: name of the target space, or a PyOpenColorIO.TransformDirection.
            what: the conversion in words, for the message.

        Raises:
            ColorError: the config cannot do this; the message gives OCIO's reason.
        """
        return _translated(
            lambda: self.native.getProcessor(source, target),
            f"{what} is not possible in {self.origin}",
            "choose another space, or repair the config",
        )

    def _table(self) -> dict[str, ColorSpaceInfo]:
        if self._spaces is None:
            import PyOpenColorIO as ocio

            roles: dict[str, list[str]] = {}
            for role, space in self.native.getRoles():
                # The role may name its space by an alias.
                native = self.native.getColorSpace(space)
                if native is not None:
                    roles.setdefault(native.getName(), []).append(role)
            self._spaces = {
                native.getName(): ColorSpaceInfo(
                    name=native.getName(),
                    family=native.getFamily(),
                    encoding=native.getEncoding(),
                    aliases=tuple(native.getAliases()),
                    roles=tuple(roles.get(native.getName(), ())),
                    interop_id=native.getInteropID() or "",
                    is_data=native.isData(),
                )
                for native in self.native.getColorSpaces(ocio.SEARCH_REFERENCE_SPACE_ALL, ocio.COLORSPACE_ALL)
            }
        return self._spaces

    def _unknown(self, name: str) -> str:
        wanted = name.casefold()
        scores: dict[str, float] = {}
        for info in self._table().values():
            for known in (info.name, *info.aliases, *info.roles):
                # A role is worth naming as such; an alias stands for its space.
                label = known if known in info.roles else info.name
                scores[label] = max(scores.get(label, 0.0), _likeness(wanted, known.casefold()))
        best = sorted((label for label in scores if scores[label] >= 0.6), key=lambda label: -scores[label])[:3]
        hint = f"did you mean {' or '.join(map(repr, best))}?" if best else "`stpn doctor` lists its spaces"
        return f"expected a color space of the config, got {name!r}, which {self.origin} does not have; {hint}"


def _likeness(wanted: str, known: str) -> float:
    """0..1, how well a name fits another, or as much of it from the start as was typed, or a part of it."""
    if len(wanted) >= 3 and wanted in known:
        return 0.95
    whole = difflib.SequenceMatcher(None, wanted, known).ratio()
    start = difflib.SequenceMatcher(None, wanted, known[: len(wanted)]).ratio() if len(wanted) >= 4 else 0.0
    return max(whole, 0.9 * start)


def load_config(path: str | None = None) -> Config:
    """Opens the config of `--ocio`, else that of $OCIO, else the built-in one.

    Args:
        path: a config file (.ocio, .ocioz) or an "ocio://" address, as given to --ocio; None where it was not given.

    Returns:
        The config; `origin` says which of the three it is.

    Raises:
        ColorError: the file is missing, unreadable, broken, or needs a newer OCIO.
    """
    if path is not None:
        origin = f"--ocio {path}"
        return Config(native=_open(path, origin, "name another config, or leave --ocio out"), origin=origin)
    address = os.environ.get("OCIO", "").strip()
    if address:
        origin = f"$OCIO ({address})"
        return Config(native=_open(address, origin, "set it to a config, or unset it"), origin=origin)
    origin = f"built-in {BUILTIN_CONFIG}"
    return Config(native=_open(f"ocio://{BUILTIN_CONFIG}", origin, "install opencolorio 2.6 or newer"), origin=origin)


def _open(address: str, where: str, advice: str) -> Any:
    import PyOpenColorIO as ocio

    if not address.startswith("ocio://"):
        if os.path.isdir(address):
            raise ColorError(f"expected an OCIO config file, got a folder: {where}; name the .ocio file in it")
        if not os.path.exists(address):
            raise ColorError(f"expected an OCIO config file, found nothing: {where}; {advice}")
        if not os.path.isfile(address):  # to open a named pipe would wait for ever
            raise ColorError(f"expected an OCIO config file, got something that is no file: {where}; {advice}")
        if not os.access(address, os.R_OK):
            raise ColorError(f"expected an OCIO config file, but it may not be read: {where}; {advice}")

    def opened() -> Any:
        native = ocio.Config.CreateFromFile(address)
        native.validate()
        return native

    return _translated(
        opened, f"expected an OCIO config that OCIO {ocio.__version__} reads, {where} is not one", advice
    )


def _translated(action: Callable[[], Any], failure: str, advice: str) -> Any:
    """Runs `action` and turns OCIO's exceptions into one-line ColorErrors."""
    import PyOpenColorIO as ocio

    try:
        return action()
    except (ocio.Exception, UnicodeError) as error:
        reason = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
        raise ColorError(f"{failure}: {reason[:300]}; {advice}") from error
