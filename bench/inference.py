"""Our networks on a CPU: torch as it is used, other ways of torch, and other runtimes.

    python bench/inference.py --threads 1
    python bench/inference.py --threads 2 --json inference.json
    python bench/inference.py --threads 1 --compile

Every way runs the same network on the same picture, in turns. Before any time is taken its result is compared with
torch in float32; one that is too far off ends the run. Times are medians, and ratios are medians of the ratios to torch
as it is used in the same round: by the clock, and by the processor's time of the whole process.

onnxruntime and OpenVINO are measured where they can be imported. Neither knows our recurrence, so that the graph of
`stpn.engine.backends.onnx_export` is cut around it: what is before and behind runs there, the recurrence is our own.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
import torch
from torch.nn.functional import avg_pool2d, scaled_dot_product_attention

from stpn.engine import aligned_network, device, matching, weights
from stpn.engine.aligned_network import AlignedFusion
from stpn.engine.alignment import Route
from stpn.engine.backends.onnx_export import export_onnx
from stpn.engine.backends.onnx_operators import DOMAIN, PROPAGATE
from stpn.engine.device import inference
from stpn.engine.fusion import candidate, fuse
from stpn.engine.network import SwitchableTPN
from stpn.engine.observation import collate, inputs, observe
from stpn.engine.propagation import propagate
from stpn.engine.propagation.gathering import gather

Arrays = dict[str, np.ndarray[Any, Any]]
Network = AlignedFusion | SwitchableTPN
Way = Callable[[], Mapping[str, torch.Tensor]]
Run = Callable[[Arrays], Arrays]

CASES: dict[str, tuple[str, int, int]] = {
    "aligned 320x192": ("aligned", 192, 320),
    "aligned 512x288": ("aligned", 288, 512),
    "stpn 512x512": ("color", 512, 512),
}

LIMITS = {"float32": 0.02, "bfloat16": 3.0}
"""Largest difference to torch in float32 that a way may have, in units of ab."""


def main() -> None:
    """Prints a table for each network and size, and all of them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--case", action="append", choices=list(CASES), help="all unless given")
    parser.add_argument("--compile", action="store_true", help="torch.compile too; needs a C++ compiler, takes minutes")
    parser.add_argument("--without-bfloat16", action="store_true", help="as on a processor that has none")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.without_bfloat16:
        device.fast_bfloat16 = lambda: False  # type: ignore[assignment]
    found = {name: measure(*CASES[name], args) for name in args.case or CASES}
    report = {"torch": torch.__version__, "threads": args.threads, "bfloat16": device.fast_bfloat16(), "cases": found}
    print(json.dumps(report))
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")


def measure(name: str, height: int, width: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Figures of every way of one network at one size."""
    network, given = prepared(name, height, width)
    ways = torch_ways(network, given, args.compile) | other_ways(network, given, args.threads)
    used = next(iter(ways))
    truth = {key: value.clone() for key, value in ways["torch float32"]().items()}
    off = {way: first_call(way, run, truth) for way, run in ways.items()}
    clock: dict[str, list[float]] = {way: [] for way in ways}
    processor: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way, run in ways.items():
            start = time.perf_counter(), time.process_time()
            run()
            clock[way].append(1000 * (time.perf_counter() - start[0]))
            processor[way].append(1000 * (time.process_time() - start[1]))
    figures = {
        way: {
            "ms": median(clock[way]),
            "ratio": median(a / b for a, b in zip(clock[way], clock[used], strict=True)),
            "processor_ratio": median(a / b for a, b in zip(processor[way], processor[used], strict=True)),
            **off[way],
        }
        for way in ways
    }
    print(f"\n{name} {width} x {height}, threads: {args.threads}, 1.00 is {used}")
    for way, one in figures.items():
        print(
            f"  {way:32s} {one['ms']:6.1f} ms, ratio {one['ratio']:.2f}, of processor {one['processor_ratio']:.2f};"
            f" off by {one['largest']:.4f}, mean {one['mean']:.5f} of ab; confidence {one['confidence']:.4f};"
            f" first {one['first_s']:.1f} s"
        )
    return {way: {key: round(value, 5) for key, value in one.items()} for way, one in figures.items()}


def first_call(way: str, run: Way, truth: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Seconds until the first result, with what is compiled and chosen at a first call, and how far it is off."""
    start = time.perf_counter()
    made = run()
    return {"first_s": time.perf_counter() - start, **differences(way, made, truth)}


def differences(way: str, made: Mapping[str, torch.Tensor], truth: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Of a way's result to that of torch in float32; ends the run where it is wrong."""
    off = 100 * (made["carried"].float() - truth["carried"]).abs()
    limit = LIMITS["bfloat16" if "bfloat16" in way else "float32"]
    if not off.max() <= limit:  # so that NaN is wrong too
        raise SystemExit(f"{way}: expected at most {limit} off torch in float32, got {float(off.max())}")
    sure = 0.0
    if "unsure" in truth:
        sure = float((torch.sigmoid(made["unsure"].float()) - torch.sigmoid(truth["unsure"])).abs().max())
    return {"largest": float(off.max()), "mean": float(off.mean()), "confidence": sure}


def prepared(name: str, height: int, width: int) -> tuple[Network, dict[str, torch.Tensor]]:
    """The shipped network and a picture for it, its planes by the names of the graph's inputs."""
    file = Path(weights.__file__).with_name(f"{name}.safetensors")
    light = 50 + 300 * smooth(height, width, 1)
    keys = [(light + 60 * smooth(height, width, 2 + k), 300 * smooth(height, width, 4 + k, 2)) for k in (0, 1)]
    if name == "color":
        planes = [np.moveaxis(keys[0][1], 2, 0) / 100, keys[0][0][None] / 100 - 0.5, light[None] / 100 - 0.5]
        names = ("key_property", "key_guide", "target_guide")
        given = {n: torch.from_numpy(np.ascontiguousarray(p[None])) for n, p in zip(names, planes, strict=True)}
        return weights.load_network(file).eval(), given
    routes = [
        [Route(*(60 * smooth(height, width, 10 * k + 2 * r + way, 2) for way in (6, 7))) for r in (0, 1)]
        for k in (0, 1)
    ]
    candidates = [
        [candidate(prop, key_light, light, route, 5 + k) for route in routes[k]]
        for k, (key_light, prop) in enumerate(keys)
    ]
    fused = fuse([one for each in candidates for one in each], light)
    return weights.load_aligned(file).eval(), collate([observe(candidates, fused, light, keys)])


def smooth(height: int, width: int, seed: int, channels: int = 1) -> np.ndarray[Any, Any]:
    """(H, W) or (H, W, C) float32 noise without edges, around 0."""
    noise = np.random.default_rng(seed).uniform(-1, 1, (height, width, channels)).astype(np.float32)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 4), np.float32)


def torch_ways(network: Network, given: dict[str, torch.Tensor], compiled: bool) -> dict[str, Way]:
    """The first one is how the plugin uses the network."""
    aligned = isinstance(network, AlignedFusion)
    fast = aligned and device.fast_bfloat16()

    def way(fast: bool, last: bool = aligned, call: Any = network, place: Any = inference) -> Way:
        def run() -> Mapping[str, torch.Tensor]:
            with place(network, fast=fast):
                out = call(inputs(given)) if aligned else call(*given.values())
            return {"carried": out.values, "unsure": out.unsure} if aligned else {"carried": out}

        # weights that lie otherwise are a network of their own
        if last != aligned:
            other = type(network)(network.config).eval()  # type: ignore[arg-type]
            other.load_state_dict(network.state_dict())
            call = other.to(memory_format=torch.channels_last if last else torch.contiguous_format)  # type: ignore
        return run

    order = "first" if aligned else "last"
    kind = "bfloat16" if fast else "float32"
    ways = {f"torch as used, {kind}": way(fast), "torch float32": way(False)}
    ways[f"torch float32, channels {order}"] = way(False, not aligned)
    if device.fast_bfloat16():
        ways["torch bfloat16"] = way(True)
        ways[f"torch bfloat16, channels {order}"] = way(True, not aligned)
    if aligned:
        ways[f"torch {kind}, plain"] = way(fast, place=plainly)
    if compiled:
        # what is exported in float32 asserts that, and does not run under autocast
        ways["torch float32, compiled"] = way(False, call=compiled_of(network, given), place=without_gradients)
    return ways


@contextmanager
def plainly(network: Network, *, fast: bool) -> Iterator[None]:
    """As `inference`, with torch's own pooling, and attention in the type that autocast chooses."""

    def attention(*given: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(*given, scale=1.0)

    with (
        patch.object(aligned_network, "halved", lambda planes: avg_pool2d(planes, 2)),
        patch.object(matching, "_attention", attention),
        inference(network, fast=fast),
    ):
        yield


def compiled_of(network: Network, given: dict[str, torch.Tensor]) -> Any:
    """The network compiled as one graph, which torch.compile does not find where a method looks at torch's modes."""
    flat: tuple[Any, ...] = tuple(given.values())
    with torch.no_grad():
        if not isinstance(network, AlignedFusion):
            return torch.compile(torch.export.export(network, flat, strict=False).module())
        whole = torch.compile(torch.export.export(Flat(network, list(given)), flat, strict=False).module())
    return lambda x: SimpleNamespace(**dict(zip(("values", "unsure"), whole(*flat), strict=True)))


class Flat(torch.nn.Module):
    """An AlignedFusion that takes planes one by one, for torch.export."""

    def __init__(self, network: AlignedFusion, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *planes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The property and how unsure it is."""
        out = self.network(inputs(dict(zip(self.names, planes, strict=True))))
        return out.values, out.unsure


@contextmanager
def without_gradients(network: Network, *, fast: bool) -> Iterator[None]:
    """As `inference`, in the mode in which torch.compile takes our recurrence as one operator."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
        yield


def other_ways(network: Network, given: dict[str, torch.Tensor], threads: int) -> dict[str, Way]:
    """Those whose packages are here."""
    arrays = {name: np.ascontiguousarray(plane.numpy()) for name, plane in given.items()}
    makers = {"onnxruntime float32": onnxruntime_part, "OpenVINO float32": openvino_part}
    if device.fast_bfloat16():
        makers["OpenVINO bfloat16"] = lambda *a: openvino_part(*a, precision="bf16")
    height, width = next(iter(given.values())).shape[-2:]
    ways: dict[str, Way] = {}
    model = None
    for name, maker in makers.items():
        try:
            __import__(name.split()[0].lower())
        except ImportError:
            print(f"{name}: left out, its package is not here", file=sys.stderr)
            continue
        # the weights as they are loaded for the graph: plainly laid out
        model = model or export_onnx(network.to(memory_format=torch.contiguous_format), height, width)  # type: ignore
        if isinstance(network, AlignedFusion):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ways[name] = cut(model, lambda part, maker=maker: maker(part, threads), arrays)
    return ways


def cut(model: Any, runner: Callable[[Any], Run], given: Arrays) -> Way:
    """Runs a graph in parts, before, between and behind the nodes of our own operators, which torch runs."""
    parts, ends = split(model), [one.name for one in model.graph.output]
    runs: dict[int, Run] = {}

    def way() -> Mapping[str, torch.Tensor]:
        known = dict(given)
        with torch.inference_mode():
            for at, part in enumerate(parts):
                seen = {name: known[name] for name in part.needs}
                if part.nodes and at not in runs:
                    runs[at] = runner(part.model(model, seen))
                known |= runs[at](seen) if part.nodes else {}
                for node in part.own:
                    x, gates = (torch.from_numpy(np.ascontiguousarray(known[name])) for name in node.input)
                    made = propagate(x, gates) if node.op_type == PROPAGATE else gather(x, gates)
                    known[node.output[0]] = made.numpy()
        return {name: torch.from_numpy(np.asarray(known[name])) for name in ends}

    return way


@dataclasses.dataclass(frozen=True)
class Part:
    """Nodes of ONNX's own, what they need of others and others of them, and our own operators that come next."""

    nodes: list[Any]
    needs: list[str]
    gives: list[str]
    own: list[Any]

    def model(self, whole: Any, given: Arrays) -> Any:
        """As a model of fixed sizes, which are those of the given."""
        from onnx import TensorProto, helper

        used = {name for node in self.nodes for name in node.input}
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.gives]
        starts = [helper.make_tensor_value_info(name, TensorProto.FLOAT, given[name].shape) for name in self.needs]
        stored = [tensor for tensor in whole.graph.initializer if tensor.name in used]
        graph = helper.make_graph(self.nodes, "part", starts, ends, stored)
        return helper.make_model(graph, opset_imports=whole.opset_import, ir_version=whole.ir_version)


def split(model: Any) -> list[Part]:
    """The parts of a graph in their order: each node as early as our own operators before it allow."""
    level: dict[str, int] = {}
    nodes: dict[int, list[Any]] = {}
    own: dict[int, list[Any]] = {}
    for node in model.graph.node:
        at = max((level.get(name, 0) for name in node.input), default=0)
        (own if node.domain == DOMAIN else nodes).setdefault(at, []).append(node)
        level |= dict.fromkeys(node.output, at + (node.domain == DOMAIN))
    stored = {tensor.name for tensor in model.graph.initializer} | {""}
    wanted = {one.name for one in model.graph.output}
    parts = []
    for at in sorted(nodes.keys() | own.keys(), reverse=True):
        made = {name for node in nodes.get(at, []) for name in node.output}
        wanted |= {name for node in own.get(at, []) for name in node.input}
        gives = sorted(made & wanted)
        needs = {name for node in nodes.get(at, []) for name in node.input} - made - stored
        wanted |= needs
        parts.append(Part(nodes.get(at, []), sorted(needs), gives, own.get(at, [])))
    return parts[::-1]


def onnxruntime_part(model: Any, threads: int) -> Run:
    """One part of a graph in onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # its threads shall not take the processor from what is measured next
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return lambda given: dict(zip(names, session.run(names, given), strict=True))


def openvino_part(model: Any, threads: int, precision: str = "f32") -> Run:
    """One part of a graph in OpenVINO."""
    import io

    import openvino

    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    read = openvino.Core().read_model(io.BytesIO(model.SerializeToString()))
    request = openvino.Core().compile_model(read, "CPU", settings).create_infer_request()
    names = [one.name for one in model.graph.output]

    def run(given: Arrays) -> Arrays:
        made = request.infer(given, share_inputs=True, share_outputs=True)
        return {name: made[name] for name in names}

    return run


if __name__ == "__main__":
    main()
