"""`stpn bench speed`: what is measured, as people read it and as JSON with the machine and the version it was."""

from __future__ import annotations

import argparse
import os
import platform
from importlib.metadata import version
from statistics import median
from typing import Any

from stpn.plugin import machine
from stpn.plugin.device import choose_device
from stpn.plugin.request import Request, RequestError

PARTS = ("operator", "network", "method")
SIZES = {"1080p": (1920, 1080), "4K": (3840, 2160)}
_SHAPES = ((1, 32, 64, 64), (8, 32, 256, 256))
_ON_A_GPU = ((1, 32, 64, 64), (64, 32, 256, 256))


def measured(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """The tables, and all numbers.

    Raises:
        RequestError: the device cannot be used, or a size is none.
        WrongError: something gives wrong values; nothing is timed then.
    """
    import torch

    unknown = [name for name in args.size if name not in SIZES]
    if unknown:
        raise RequestError(f"--size: expected {' or '.join(SIZES)}, got {', '.join(unknown)}")
    device, why = choose_device(args.device)
    threads = args.threads or os.cpu_count() or 1
    torch.set_num_threads(threads)
    report: dict[str, Any] = {"device": why, "threads": threads, "rounds": args.rounds, "machine": _machine()}
    lines = [f"{why}; {threads} threads; {report['machine']['processor']}"]
    for part in args.part:
        said, report[part] = {"operator": _operator, "network": _network, "method": _method}[part](args, device)
        lines += ["", *said]
    return "\n".join(lines), report


def _operator(args: argparse.Namespace, device: str) -> tuple[list[str], Any]:
    import torch

    from stpn.engine.evaluation.speed import has_triton, operator

    if device == "tensorrt":
        return ["operator: TensorRT runs it inside of its engines; --device cuda measures it alone"], {}
    lines, numbers = [], {}
    kinds = [torch.float32] if device == "cpu" else [torch.float32, torch.float16]
    for shape in _SHAPES if device == "cpu" else _ON_A_GPU:
        for kind in kinds:
            times, least = operator(shape, kind, device, args.rounds)
            name = f"{' x '.join(map(str, shape))} {str(kind).removeprefix('torch.')}"
            lines.append(f"operator, B x C x H x W = {name}")
            copied = median(times["copy of as many bytes"])
            for what, each in times.items():
                share = f"{100 * copied / median(each):6.1f} % of copy bandwidth" if what == "propagate" else ""
                lines.append(
                    f"  {what:24s}{1e3 * median(each):10.3f} ms{least / median(each) / 1e9:9.1f} GB/s  {share}"
                )
            numbers[name] = {"seconds": times, "bytes": least}
    if device == "cuda" and not has_triton():
        lines.append("  triton: not measured, the package is not here")
    return lines, numbers


def _network(args: argparse.Namespace, device: str) -> tuple[list[str], Any]:
    from stpn.engine.evaluation.speed import PAPER, UNRECORDED, networks

    if device == "tensorrt":
        return _network_in_engine(args)
    lines = ["network, one frame of 512 x 512" + " " * 16 + "paper (TITAN X)"]
    numbers = {}
    for batch in (1,) if device == "cpu" else (1, 32):
        times = networks(device, batch, args.rounds)
        for name, each in times.items():
            label, paper = f"{name}, batch {batch}", PAPER[name.removesuffix(UNRECORDED)]
            lines.append(f"  {label:36s}{1e3 * median(each):10.2f} ms{1e3 * paper:7.0f} ms")
        numbers[f"batch {batch}"] = times
    return lines, numbers


def _network_in_engine(args: argparse.Namespace) -> tuple[list[str], Any]:
    from stpn.engine.backends.tensorrt_network import NoEngineError, engine_file
    from stpn.engine.backends.tensorrt_runtime import EngineRunner, RunError
    from stpn.engine.evaluation.speed import PAPER, SIDE, in_engine
    from stpn.engine.network import SwitchableTPN
    from stpn.plugin.networks import load_weights, weights_file

    request = Request("", "", "", method="stpn")
    path = weights_file(request)
    assert path is not None
    network = load_weights(request, path)
    assert isinstance(network, SwitchableTPN)
    slots = 3
    try:
        with EngineRunner(engine_file(network, SIDE, SIDE), slots) as runner:
            times = in_engine(network, runner, slots, args.rounds)
    except (NoEngineError, RunError) as error:
        raise RequestError(f"--device tensorrt: {error}") from error
    lines = ["network in TensorRT, one frame of 512 x 512, copies included"]
    for name, each in times.items():
        lines.append(f"  {name:36s}{1e3 * median(each):10.2f} ms{1e3 * PAPER['color']:7.0f} ms of the paper")
    return lines, {"engine": times}


def _method(args: argparse.Namespace, device: str) -> tuple[list[str], Any]:
    from stpn.engine.aligned_network import AlignedFusion
    from stpn.engine.evaluation.method_speed import methods
    from stpn.plugin.networks import load_weights, on_device, weights_file

    request = Request("", "", "", method="aligned")
    path = weights_file(request)
    assert path is not None
    lines, numbers = ["method, a frame, without files"], {}
    for size in args.size:
        width, height = SIZES[size]
        network = on_device(load_weights(request, path), device, height, width)
        assert isinstance(network, AlignedFusion)
        times = methods(width, height, network, device, args.threads or os.cpu_count() or 1, max(1, args.rounds // 5))
        for name, each in times.items():
            lines.append(f"  {name + ', ' + size:24s}{median(each):10.2f} s{1 / median(each):11.2f} frames/s")
        numbers[size] = times
    return lines, numbers


def _machine() -> dict[str, Any]:
    return {
        "processor": machine.cpu_model() or platform.machine(),
        "processors": machine.usable_processors(),
        "gpus": machine.nvidia_gpus()[0],
        "python": platform.python_version(),
        "torch": version("torch"),
        "stpn": version("stpn"),
    }
