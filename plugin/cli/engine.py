"""`stpn engine`: TensorRT engines, built for this machine's GPU and kept for `--device tensorrt`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stpn.engine.backends.engine_cache import Kept, Machine
    from stpn.engine.backends.onnx_export import Network

HELP = "build, list and clear TensorRT engines"

DESCRIPTION = """\
Builds TensorRT engines ahead of time, for `--device tensorrt`. An engine serves one network at one size of pictures, on
the GPU and with the driver and TensorRT that it was built with; where any of these differs, another is built.

    stpn engine build --size 1920x1080 2048x1152
    stpn engine list
    stpn engine clear

Engines lie in the user's folder for caches, such as ~/.cache/stpn/engines; `stpn engine list` says where. They may be
deleted at any time."""

_BUILD = """\
Builds the engines of a network for sizes of plates, those alone that are not there yet. Each takes minutes.

Convolutions are computed in half precision, the propagation and all sums in float32; with --fp32 everything is.
--dry-run says what would be built."""

_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


def setup(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    what = parser.add_subparsers(dest="engine", metavar="WHAT", required=True)

    def command(name: str, text: str, description: str) -> argparse.ArgumentParser:
        return what.add_parser(
            name, help=text, description=description, epilog=parser.epilog, formatter_class=parser.formatter_class
        )

    build = command("build", "build engines for sizes of plates", _BUILD)
    add = build.add_argument
    add("--size", nargs="+", default=["1920x1080"], metavar="WxH", help="width x height of plates (default: 1920x1080)")
    add("--property", choices=("color", "hdr", "mask"), default="color", help="what is carried (default: color)")
    add("--method", choices=("aligned", "stpn"), default="aligned", help="whose network (default: aligned)")
    add("--weights", metavar="FILE", help="weights for the network (default: those that are shipped)")
    add("--fp32", action="store_true", help="compute everything in float32")
    add("--dry-run", action="store_true", help="only say what would be built")
    listing = command("list", "list the engines there are", "Lists the engines there are, and which fit this machine.")
    listing.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command("clear", "delete all engines", "Deletes all engines, and what TensorRT measured for them.")


def run(args: argparse.Namespace) -> int:
    """Builds, lists or clears."""
    return {"build": _build, "list": _list, "clear": _clear}[args.engine](args)


def _build(args: argparse.Namespace) -> int:
    from stpn.engine.backends.engine_build import EngineError, TensorRTMissing, find_machine
    from stpn.engine.backends.onnx_export import ExportError
    from stpn.plugin.networks import load_weights, weights_file
    from stpn.plugin.request import Request, RequestError

    sizes = _sizes(args.size)
    request = Request("", "", "", property=args.property, method=args.method, weights=args.weights)
    path = weights_file(request)
    if path is None:
        raise RequestError(f"--method: expected aligned, whose network --property mask has, got {args.method}")
    network = load_weights(request, path)
    try:
        machine = find_machine()
    except TensorRTMissing as error:
        raise RequestError(str(error)) from error
    print(f"{machine.gpu}, driver {machine.driver}, TensorRT {machine.tensorrt}", file=sys.stderr)
    try:
        for width, height in sizes:
            _build_one(args, network, path.stem, height, width, machine)
    except ExportError as error:
        raise RequestError(str(error)) from error
    except (EngineError, OSError) as error:
        print(f"stpn engine: {error}", file=sys.stderr)
        if args.debug:
            raise
        return 1
    return 0


def _build_one(
    args: argparse.Namespace, network: Network, weights: str, height: int, width: int, machine: Machine
) -> None:
    from stpn.engine.backends.engine_build import make_engine, network_size, plan_engine
    from stpn.engine.backends.engine_cache import cache_folder, find

    shown = network_size(network, height, width)
    plan = plan_engine(network, *shown, machine, half=not args.fp32, weights=weights)
    folder = cache_folder()
    path = find(folder, plan.key)
    doing = "there already" if path else "would be built" if args.dry_run else "building, which takes minutes"
    precision = "float32" if args.fp32 else "half"
    print(f"{width}x{height} {args.property} {args.method} in {precision}: {doing}", file=sys.stderr, flush=True)
    if path is None and not args.dry_run:
        path = make_engine(plan, folder)
    print(path or folder / plan.key.file_name)


def _sizes(texts: list[str]) -> list[tuple[int, int]]:
    """(width, height) of each, once."""
    from stpn.plugin.request import RequestError

    matches = {text: _SIZE.fullmatch(text) for text in texts}
    wrong = [f"--size: expected WIDTHxHEIGHT such as 1920x1080, got {text!r}" for text, m in matches.items() if not m]
    if wrong:
        raise RequestError(*wrong)
    return [(int(match[1]), int(match[2])) for match in matches.values() if match]


def _list(args: argparse.Namespace) -> int:
    from stpn.engine.backends.engine_build import TensorRTMissing, find_machine
    from stpn.engine.backends.engine_cache import cache_folder, kept

    folder = cache_folder()
    machine, reason = None, ""
    try:
        machine = find_machine()
    except TensorRTMissing as error:
        reason = str(error)
    engines = [_told(one, machine) for one in kept(folder)]
    if args.json:
        here = asdict(machine) if machine else None
        told = {"folder": str(folder), "engines": engines, "machine": here, "missing": reason}
        print(json.dumps(told, indent=1))
        return 0
    print(folder)
    for engine in engines:
        print("  " + "  ".join(str(value) for name, value in engine.items() if name != "path"))
    if not engines:
        print("  no engines; build some with: stpn engine build")
    if reason:
        print(f"none of them runs here: {reason}" if engines else reason, file=sys.stderr)
    return 0


def _told(one: Kept, machine: Machine | None) -> dict[str, str]:
    """An engine in words."""
    from stpn.engine.backends.tensorrt_plugin import plugin_digest

    size = f"{one.size / 1e6:.1f} MB"
    if one.key is None:
        return {"path": str(one.path), "name": one.path.name, "size": size, "state": "unreadable, will not be used"}
    key = one.key
    state = "not for this machine"
    if machine is not None:
        changed = replace(key, machine=machine, plugin=plugin_digest()).differences(key)
        state = f"stale: {', '.join(changed)}" if changed else "fits this machine"
    return {
        "path": str(one.path),
        "name": f"{key.weights_name} {key.network}",
        "shape": key.shape,
        "precision": key.precision,
        "size": size,
        "gpu": key.machine.gpu,
        "tensorrt": f"TensorRT {key.machine.tensorrt}",
        "state": state,
    }


def _clear(args: argparse.Namespace) -> int:
    from stpn.engine.backends.engine_cache import cache_folder, clear

    folder = cache_folder()
    try:
        count, size = clear(folder)
    except OSError as error:
        print(f"stpn engine: {error}", file=sys.stderr)
        return 1
    print(f"{folder}: {count} engine{'s' * (count != 1)} deleted, {size / 1e6:.1f} MB")
    return 0
