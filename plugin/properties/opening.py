"""From the name of a property to the property of a shot."""

from __future__ import annotations

from importlib import import_module

from stpn.plugin.properties.interface import Material, Opened


def open_property(material: Material) -> Opened:
    """Opens the property that a request asks for.

    Raises:
        RequestError, ColorError, PlateError: what is wrong, where nothing more can be told.
    """
    opened: Opened = import_module(f"stpn.plugin.properties.{material.request.property}").opened(material)
    return opened
