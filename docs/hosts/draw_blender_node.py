"""Draws docs/hosts/blender.png: the node STPN Propagate as Blender reports it, and frames that Blender composed.

    python docs/hosts/draw_blender_node.py --blender PYTHON

PYTHON has Blender as a module (bpy), which opens no window, so this is a drawing and no screenshot: sockets, links,
places, and what the node's own drawing code puts where, are read from the registered node after it has propagated
examples/juggle; the pictures are what Blender's compositor then wrote.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SHOT = REPOSITORY / "examples" / "juggle"
FIRST, LAST, SHOWN = 1001, 1041, 1011
PICTURES = {"source": "Source", "keys": "Keys", "image": "STPN Propagate: Image", "confidence": "Confidence"}


# ---------------------------------------------------------------- in Blender


class Layout:
    """Stands in for Blender's layout and keeps what is put into it, in order."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.enabled = True

    def row(self) -> Layout:
        """Goes into the same list."""
        return Layout(self.rows)

    column = box = row

    def label(self, text: str, icon: str = "") -> None:
        """A heading."""
        self.rows.append({"kind": "heading", "label": text})

    def prop(self, data: Any, name: str) -> None:
        """A property: its label and its value as Blender shows it."""
        one = data.bl_rna.properties[name]
        value = getattr(data, name)
        if one.type == "ENUM":
            value = one.enum_items[value].name
        self.rows.append({"kind": one.type, "label": one.name, "value": value, "enabled": self.enabled})

    def operator(self, name: str) -> Any:
        """A button."""
        import bpy

        group, _, short = name.partition(".")
        self.rows.append({"kind": "button", "label": getattr(getattr(bpy.ops, group), short).get_rna_type().name})
        return SimpleNamespace()


def look(folder: Path) -> None:
    """Builds the tree, runs the node, renders one frame; writes what Blender reports to `seen.json`."""
    import bpy

    sys.path.insert(0, str(folder / "addons"))
    import stpn_propagate

    stpn_propagate.register()
    bpy.ops.wm.save_as_mainfile(filepath=str(folder / "juggle.blend"))
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = FIRST, LAST
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 320, 180, 100
    tree = scene.compositing_node_group = bpy.data.node_groups.new("Compositing", "CompositorNodeTree")

    def image(name: str, place: tuple[int, int]) -> Any:
        node = tree.nodes.new("CompositorNodeImage")
        node.image = bpy.data.images.load(str(SHOT / name / f"{name}.{FIRST}.exr"))
        node.image.source = "SEQUENCE"
        node.frame_start, node.frame_duration, node.frame_offset = FIRST, LAST - FIRST + 1, FIRST - 1
        node.label, node.location = name.capitalize().replace("Plate", "Source"), place
        return node

    source, keys = image("plate", (0, 0)), image("keys", (0, -200))
    node = tree.nodes.new("StpnPropagateNode")
    node.location = (300, 20)
    output = tree.nodes.new("CompositorNodeOutputFile")
    output.location = (640, 0)
    output.format.media_type = "IMAGE"
    output.format.file_format = "OPEN_EXR"
    output.format.color_depth = "32"
    output.directory, output.file_name = str(folder) + os.sep, ""
    tree.links.new(source.outputs["Image"], node.inputs["Source"])
    tree.links.new(keys.outputs["Image"], node.inputs["Keys"])
    outputs = {"source": source, "keys": keys, "image": node, "confidence": node}
    for name in ("image", "confidence", "source", "keys"):
        output.file_output_items.new("RGBA", f"{name}_")
        plug = outputs[name].outputs["Confidence" if name == "confidence" else "Image"]
        if name in ("image", "confidence"):
            tree.links.new(plug, output.inputs[f"{name}_"])
    bpy.ops.stpn.propagate()
    # the plain functions, since Blender lets no stand-in through to those of the node
    drawn = stpn_propagate.node.Propagate
    seen = {"version": bpy.app.version_string, "nodes": {}, "links": []}
    for one in tree.nodes:
        rows: list[dict[str, Any]] = []
        if one == node:
            drawn.draw_buttons(one, bpy.context, Layout(rows))
        seen["nodes"][one.name] = {
            "title": one.label or one.bl_label,
            "location": list(one.location),
            "width": one.width,
            "inputs": [socket.name for socket in one.inputs if socket.enabled and (one == node or socket.is_linked)],
            "outputs": [socket.name for socket in one.outputs if socket.enabled],
            "rows": rows,
        }
    seen["sidebar"] = []
    drawn.draw_buttons_ext(node, bpy.context, Layout(seen["sidebar"]))
    for link in tree.links:
        seen["links"].append([link.from_node.name, link.from_socket.name, link.to_node.name, link.to_socket.name])
    for name in ("source", "keys"):
        tree.links.new(outputs[name].outputs["Image"], output.inputs[f"{name}_"])
    for frame in (FIRST, SHOWN):
        scene.frame_start = scene.frame_end = frame
        scene.render.filepath = str(folder / "unused_")
        bpy.ops.render.render(animation=True)
    (folder / "seen.json").write_text(json.dumps(seen), encoding="utf-8")


# ---------------------------------------------------------------- the drawing

DARK, NODE, FIELD, TEXT, GREY = "#1d1d1d", "#303030", "#545454", "#e6e6e6", "#7c7c7c"
NUMBER_PLUG, COLOR_PLUG, ROW, PAD = "#a1a1a1", "#c7c729", 20, 8


class Drawing:
    """Boxes in Blender's units, y upwards."""

    def __init__(self, axes: Any) -> None:
        self.axes = axes
        self.plugs: dict[tuple[str, str, bool], tuple[float, float]] = {}

    def box(self, x: float, y: float, width: float, height: float, color: str) -> None:
        """A rounded box; x, y is its upper left corner."""
        from matplotlib.patches import FancyBboxPatch

        style = "round,pad=0,rounding_size=4"
        self.axes.add_patch(FancyBboxPatch((x, y - height), width, height, boxstyle=style, fc=color, ec="#111", lw=0.6))

    def text(self, x: float, y: float, text: str, color: str = TEXT, align: str = "left", size: float = 7.5) -> None:
        """A line of text, centered on y."""
        self.axes.text(x, y, text, color=color, ha=align, va="center", fontsize=size)

    def row(self, x: float, y: float, width: float, row: dict[str, Any]) -> None:
        """One line that the node's drawing code has asked for."""
        if row["kind"] == "heading":
            self.text(x, y, row["label"], size=8)
            return
        if row["kind"] == "button":
            self.box(x, y + 8, width, 16, FIELD)
            self.text(x + width / 2, y, row["label"], align="center")
            return
        color = TEXT if row["enabled"] else GREY
        value = row["value"]
        shown = (
            "\u2713"
            if value is True
            else "\u2013"
            if value is False
            else f"{value:g}"
            if row["kind"] == "FLOAT"
            else value
        )
        half = width * 0.46
        self.text(x, y, row["label"], color)
        self.box(x + half, y + 8, width - half, 16, FIELD if row["enabled"] else "#3d3d3d")
        self.text(x + half + 5, y, str(shown), color, size=7 if len(str(shown)) < 26 else 6)

    def node(self, name: str, one: dict[str, Any]) -> None:
        """A node with its sockets and rows."""
        (x, y), width = one["location"], one["width"]
        lines = len(one["inputs"]) + len(one["outputs"]) + len(one["rows"]) + 1
        self.box(x, y, width, lines * ROW + PAD, NODE)
        self.box(x, y, width, ROW, "#7a3d3d" if one["rows"] else "#4a5a3a" if one["outputs"] else "#3b4a5f")
        self.text(x + PAD, y - ROW / 2, one["title"], size=8)
        y -= ROW * 1.5
        for plug in one["outputs"]:
            self.text(x + width - PAD, y, plug, align="right")
            self.plug(name, plug, False, x + width, y)
            y -= ROW
        for row in one["rows"]:
            self.row(x + PAD, y, width - 2 * PAD, row)
            y -= ROW
        for plug in one["inputs"]:
            self.text(x + PAD, y, plug)
            self.plug(name, plug, True, x, y)
            y -= ROW

    def plug(self, node: str, name: str, goes_in: bool, x: float, y: float) -> None:
        """A socket."""
        self.plugs[node, name, goes_in] = x, y
        color = NUMBER_PLUG if name in ("Alpha", "Confidence") else COLOR_PLUG
        self.axes.plot(x, y, "o", color=color, ms=5, mec="#111", mew=0.6, zorder=5)

    def link(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A curve from socket to socket."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path as Curve

        bend = max(40.0, abs(end[0] - start[0]) / 2)
        points = [start, (start[0] + bend, start[1]), (end[0] - bend, end[1]), end]
        curve = Curve(points, [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4])
        self.axes.add_patch(PathPatch(curve, fc="none", ec="#cccccc", lw=1.3, zorder=4))


def draw(folder: Path, output: Path) -> None:
    """The picture: tree, sidebar, frames."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    seen = json.loads((folder / "seen.json").read_text(encoding="utf-8"))
    figure = plt.figure(figsize=(11, 8.1), dpi=110, facecolor=DARK)
    axes = figure.add_axes((0.01, 0.30, 0.98, 0.655))
    axes.set_xlim(-15, 1150)
    axes.set_ylim(-520, 50)
    axes.set_axis_off()
    drawing = Drawing(axes)
    for name, one in seen["nodes"].items():
        drawing.node(name, one)
    for start, plug, end, into in seen["links"]:
        drawing.link(drawing.plugs[start, plug, False], drawing.plugs[end, into, True])
    x, width = 850, 290
    drawing.box(x - PAD, 20 + PAD, width + 2 * PAD, len(seen["sidebar"]) * ROW + 2 * PAD, NODE)
    for index, row in enumerate(seen["sidebar"]):
        drawing.row(x, 10 - index * ROW, width, row)
    figure.text(0.012, 0.97, "STPN Propagate in the compositor; on the right its sidebar", color=TEXT, fontsize=10)
    for index, (name, title) in enumerate(PICTURES.items()):
        frame = FIRST if name == "keys" else SHOWN
        place = figure.add_axes((0.012 + index * 0.247, 0.055, 0.235, 0.2))
        place.imshow(picture(folder / f"{name}_{frame}.exr"), aspect="auto")
        place.set_axis_off()
        figure.text(0.012 + index * 0.247, 0.265, f"{title}, frame {frame}", color=TEXT, fontsize=8)
    note = (
        f"A drawing, no screenshot: nodes, links and rows as Blender {seen['version']} reports them without a window. "
        "The frames are what its compositor wrote from examples/juggle."
    )
    figure.text(0.012, 0.02, note, color=GREY, fontsize=7.5)
    figure.savefig(output, facecolor=DARK)
    quantized(output)


def picture(path: Path) -> Any:
    """A frame as a screen shows it."""
    import numpy as np

    from stpn.ocio.plate import read_plate

    plate = read_plate(path)
    light = np.stack([plate.pixels(name).astype(np.float32) for name in "RGB"], axis=-1).clip(0, 1)
    if path.name.startswith("confidence"):
        return light
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def quantized(path: Path) -> None:
    """The picture with 256 colors, a third of the size."""
    from PIL import Image

    with Image.open(path) as whole:
        small = whole.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def main() -> None:
    """Prepares the add-on, lets Blender look, draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blender", required=True, metavar="PYTHON", help="a Python with bpy 5.0 or newer")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "hosts" / "blender.png")
    args = parser.parse_args()
    from stpn.plugin.node import as_json

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        addon = folder / "addons" / "stpn_propagate"
        shutil.copytree(REPOSITORY / "plugin" / "hosts" / "blender", addon)
        (addon / "node.json").write_text(as_json(), encoding="utf-8")
        (addon / "stpn.conf").write_text(f"python {sys.executable}\n", encoding="utf-8")
        subprocess.run([args.blender, __file__, "--look", name], check=True, stdout=subprocess.DEVNULL)
        draw(folder, args.output)
    print(f"{args.output}: {args.output.stat().st_size} bytes")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--look"]:
        look(Path(sys.argv[2]))
    else:
        main()
