"""Nodes of the small OpenFX host with a shot connected to them, and parameters set as people call their values."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from ofx_host import Effect
from ofx_images import Array, Layout, pictures

from stpn.plugin import node as described


def connect(
    node: Effect,
    source: Any = None,
    keys: Any = None,
    layout: Layout | None = None,
    frames: tuple[float, float] = (1001, 1100),
) -> Effect:
    """Connects a plate and keys, of noise unless told otherwise; the output is like the plate."""
    for clip in node.clips.values():
        clip.layout = layout or clip.layout
    node.clips["Source"].connect(source or pictures(1), frames)
    node.clips["Keys"].connect(keys or pictures(2), frames)
    node.clips["Output"].connect(source or pictures(1), frames)
    return node


def choice(parameter: str, value: str) -> int:
    """The place of a value among the choices."""
    return [found for found, _ in described.parameter(parameter).choices].index(value)


def set_values(node: Effect, **values: Any) -> None:
    """Sets parameters, choices by their value."""
    for name, value in values.items():
        node[name] = choice(name, value) if described.parameter(name).kind == "choice" else value


def same(one: Array | None, other: Array) -> bool:
    """Whether both have the same bits."""
    return one is not None and one.dtype == other.dtype and one.tobytes() == np.ascontiguousarray(other).tobytes()


def status_of_render(node: Effect, frame: int) -> int:
    """The bare status of the render action."""
    like = node.wanted[threading.get_ident()] = pictures(1)(frame)
    arguments = {
        "OfxPropTime": float(frame),
        "OfxImageEffectPropFieldToRender": "OfxFieldNone",
        "OfxImageEffectPropRenderWindow": (0, 0, like.shape[1], like.shape[0]),
        "OfxImageEffectPropRenderScale": (1.0, 1.0),
    }
    return node.host.call("OfxImageEffectActionRender", node, arguments)[0]
