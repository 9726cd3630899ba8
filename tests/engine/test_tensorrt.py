"""TensorRT without TensorRT: plugins, keys of engines, the cache, what a machine is; on stand-ins for its Python and
for pycuda's. Building and running: test_tensorrt_build.py, test_tensorrt_runtime.py."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import sys
import typing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from stpn.engine.aligned_network import AlignedConfig, AlignedFusion
from stpn.engine.backends import engine_cache, tensorrt_plugin
from stpn.engine.backends.engine_build import TensorRTMissing, find_machine, network_size
from stpn.engine.backends.engine_cache import EngineKey, Machine
from stpn.engine.backends.tensorrt_plugin import KERNELS, entry_point, launch_of, plugin_digest, register_operator
from stpn.engine.network import SwitchableTPN
from stpn.engine.propagation import launch as launching
from stpn.engine.propagation.compile import SOURCE
from stpn.engine.properties.mask_deciders import padded
from stpn.engine.properties.mask_detail import working_size
from stpn.engine.properties.mask_network import MaskRefiner

NETWORKS: dict[str, Any] = {
    "stpn": SwitchableTPN,
    "aligned": AlignedFusion,
    "hdr": lambda: AlignedFusion(AlignedConfig(observed=True)),
    "mask": MaskRefiner,
}
MACHINE = Machine("NVIDIA L4", "8.9", "580.65.06", "10.13.2")
KEY = EngineKey("SwitchableTPN", "color", "a" * 64, "b" * 64, "1x64x96", "half", "c" * 64, MACHINE)


class Symbol:
    """Stands in for TensorRT's symbolic int32: an unknown size that takes + and * on its right alone, and only from
    numbers and symbols. `size` is what it will be."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __add__(self, other: int | Symbol) -> Symbol:
        return Symbol(self.size + (other.size if isinstance(other, Symbol) else other))

    def __mul__(self, other: int | Symbol) -> Symbol:
        return Symbol(self.size * (other.size if isinstance(other, Symbol) else other))


class Shape(tuple[int, ...]):
    """Stands in for tensorrt.plugin.Shape."""

    is_dynamic = False


class TensorDesc:
    """Stands in for tensorrt.plugin.TensorDesc: a shape, its symbols, a type."""

    def __init__(self, *shape: int, dtype: str = "float32", dynamic: bool = False) -> None:
        self.shape, self.dtype, self.ndim = Shape(shape), dtype, len(shape)
        self.shape.is_dynamic = dynamic
        self.shape_expr = tuple(map(Symbol, shape))

    def like(self) -> TensorDesc:
        return TensorDesc(*self.shape, dtype=self.dtype)


class StandInPlugins(ModuleType):
    """Stands in for tensorrt.plugin: keeps what is registered, and checks signatures as its documentation says."""

    TensorDesc = TensorDesc

    class KernelLaunchParams:
        """Grid, block and shared memory."""

        grid_x: Any
        block_x: Any
        shared_mem: Any

    class SymExprs(list[Any]):
        """Extra arguments."""

    class SymIntExprs(SymExprs):
        """So many of them."""

        def __init__(self, length: int) -> None:
            super().__init__([None] * length)

    class SymInt32:
        """One of them."""

        def __init__(self, value: int | Symbol) -> None:
            self.value = value.size if isinstance(value, Symbol) else value

    class AutoTuneCombination:
        """Types and formats."""

        def __init__(self, types: str, formats: str) -> None:
            self.types, self.formats = types, formats

    def __init__(self) -> None:
        super().__init__("tensorrt.plugin")
        self.described: dict[str, Any] = {}
        self.tuned: dict[str, Any] = {}
        self.implemented: dict[str, Any] = {}

    def _keep(self, place: dict[str, Any], name: str, parameters: list[str]) -> Any:
        def keep(function: Any) -> Any:
            signature = inspect.signature(function)
            assert list(signature.parameters) == parameters
            for parameter in parameters[:2]:
                assert signature.parameters[parameter].annotation is TensorDesc
            if "outputs" in parameters:
                assert typing.get_origin(signature.parameters["outputs"].annotation) is tuple
            assert name not in place
            place[name] = function
            return function

        return keep

    def register(self, name: str) -> Any:
        """Shapes and types."""
        return self._keep(self.described, name, ["x", "gates"])

    def autotune(self, name: str) -> Any:
        """Types and formats."""
        return self._keep(self.tuned, name, ["x", "gates", "outputs"])

    def aot_impl(self, name: str) -> Any:
        """The kernel."""
        return self._keep(self.implemented, name, ["x", "gates", "outputs", "tactic"])


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> StandInPlugins:
    stand_in = ModuleType("tensorrt")
    stand_in.float16 = "float16"  # type: ignore[attr-defined]
    stand_in.plugin = StandInPlugins()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in)
    monkeypatch.setitem(sys.modules, "tensorrt.plugin", stand_in.plugin)
    for operator in KERNELS:
        register_operator(operator, lambda: b"ptx")
    return stand_in.plugin


def planes(operator: str, *size: int, gate_channels: int = 1, **how: Any) -> tuple[TensorDesc, TensorDesc]:
    batch, _, height, width = size
    gates = (
        (batch, 4, 3, height, width) if operator == "GatherDirections" else (batch, 4, gate_channels, 3, height, width)
    )
    return TensorDesc(*size, **how), TensorDesc(*gates, **how)


SIZES = [(1, 32, 64, 64), (2, 3, 1, 7), (1, 32, 270, 480), (2, 4, 1000, 33)]


@pytest.mark.parametrize("operator", KERNELS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_plugin_launches_what_launch_says(
    plugins: StandInPlugins, operator: str, size: tuple[int, int, int, int], dtype: str
) -> None:
    x, gates = planes(operator, *size, dtype=dtype)
    kernel, code, params, extra = plugins.implemented[f"stpn::{operator}"](x, gates, (x.like(),), 0)
    wanted = launching.launch(kernel, *size, 1)
    assert (kernel, code) == (f"{KERNELS[operator]}_{'f16' if dtype == 'float16' else 'f32'}", b"ptx")
    assert (params.grid_x, params.block_x, params.shared_mem) == (wanted.grid, wanted.block, wanted.shared)
    assert [number.value for number in extra] == [*size[1:], 1, 0]
    assert len(extra) == len(launching.NUMBERS)


def test_gates_of_every_channel(plugins: StandInPlugins) -> None:
    x, gates = planes("Propagate", 1, 6, 20, 30, gate_channels=6)
    extra = plugins.implemented["stpn::Propagate"](x, gates, (x.like(),), 0)[3]
    assert dict(zip(launching.NUMBERS, [n.value for n in extra], strict=True))["gate_channels"] == 6


@pytest.mark.parametrize("size", SIZES)
def test_symbols_launch_enough_for_every_size(plugins: StandInPlugins, size: tuple[int, int, int, int]) -> None:
    x, gates = planes("Propagate", *size, dynamic=True)
    _, _, params, extra = plugins.implemented["stpn::Propagate"](x, gates, (x.like(),), 0)
    assert params.grid_x.size == launching.launch("stpn_propagate_f32", *size, 1).grid
    assert params.block_x == launching.SYMBOLIC_THREADS
    assert params.shared_mem.size == launching.shared_bytes(launching.SYMBOLIC_THREADS, size[2] + size[3])
    assert [number.value for number in extra] == [*size[1:], 1, 0]


def test_more_shared_memory_than_a_kernel_gets_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"^stpn_gather_f32: expected at most 49152 bytes of shared memory, 9000 x 8 needs"
    ):
        launch_of("stpn_gather_f32", (1, 3, 8, 9000), (1, 4, 3, 8, 9000))


def test_outputs_are_like_x_and_types_go_together(plugins: StandInPlugins) -> None:
    x, gates = planes("GatherDirections", 1, 3, 8, 9, dtype="float16")
    out = plugins.described["stpn::GatherDirections"](x, gates)
    assert (out.shape, out.dtype) == (x.shape, "float16")
    (combination,) = plugins.tuned["stpn::GatherDirections"](x, gates, (out,))
    assert [each.strip() for each in combination.types.split(",")] == ["FP32|FP16"] * 3
    assert combination.formats == "LINEAR"
    with pytest.raises(ValueError, match=r"stpn::Propagate: expected x \(B, C, H, W\) and gates .*, got 3 and 5 axes"):
        plugins.described["stpn::Propagate"](TensorDesc(3, 8, 9), gates)


def test_kernels_take_their_arguments_as_tensorrt_passes_them() -> None:
    source = SOURCE.read_text(encoding="utf-8")
    (numbers,) = re.findall(r"#define STPN_NUMBERS (.*)", source)
    assert numbers == ", ".join(f"int {name}" for name in launching.NUMBERS)
    for operator in KERNELS:
        for half in (False, True):
            kernel = launching.KERNELS[entry_point(operator, half)]
            assert (kernel.inputs, kernel.outputs) == (("x", "gates"), ("out",))
            assert f"STPN_FORWARD({entry_point(operator, half)}, " in source


def test_the_plugin_s_digest_is_of_its_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = plugin_digest()
    for name in ("propagation.cuh", "launch.py", "compile.py"):
        (tmp_path / name).write_bytes(SOURCE.with_name(name).read_bytes())
    monkeypatch.setattr(tensorrt_plugin, "SOURCE", tmp_path / SOURCE.name)
    assert plugin_digest() == before
    with (tmp_path / "launch.py").open("a") as file:
        file.write("\n")
    assert plugin_digest() != before


# keys and the cache

CHANGES: list[dict[str, Any]] = [
    *({name: "other"} for name in ("network", "weights", "graph", "shape", "precision", "plugin")),
    *(
        {"machine": dataclasses.replace(MACHINE, **{name: "other"})}
        for name in ("gpu", "capability", "driver", "tensorrt")
    ),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: str(next(iter(change))))
def test_whatever_differs_is_another_engine(change: dict[str, Any], tmp_path: Path) -> None:
    other = dataclasses.replace(KEY, **change)
    engine_cache.store(tmp_path, KEY, b"engine")
    assert engine_cache.find(tmp_path, other) is None
    (difference,) = KEY.differences(other)
    assert re.fullmatch(r"\w+ other instead of \S.*", difference)


def test_the_name_of_the_weights_makes_no_difference(tmp_path: Path) -> None:
    path = engine_cache.store(tmp_path, KEY, b"engine")
    assert engine_cache.find(tmp_path, dataclasses.replace(KEY, weights_name="renamed")) == path
    assert re.fullmatch(r"SwitchableTPN-1x64x96-half-[0-9a-f]{20}\.engine", path.name)


def test_timings_are_of_a_machine_and_a_plugin() -> None:
    assert KEY.timing_name == dataclasses.replace(KEY, graph="other", shape="1x8x8").timing_name
    assert KEY.timing_name != dataclasses.replace(KEY, plugin="other").timing_name
    assert KEY.timing_name != dataclasses.replace(KEY, machine=dataclasses.replace(MACHINE, driver="1.0")).timing_name


def test_engines_are_listed_and_cleared_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "engines"
    assert list(engine_cache.kept(folder)) == []
    assert engine_cache.clear(folder) == (0, 0)
    path = engine_cache.store(folder, KEY, b"engine")
    (folder / KEY.timing_name).write_bytes(b"timings")
    (folder / "notes.json").write_text("mine")
    (folder / "torn.engine").write_bytes(b"12")
    torn, whole = sorted(engine_cache.kept(folder), key=lambda one: one.key is not None)
    assert (whole.path, whole.size, whole.key) == (path, 6, KEY)
    assert (torn.path.name, torn.key) == ("torn.engine", None)
    assert engine_cache.clear(folder) == (2, 8)
    assert [left.name for left in folder.iterdir()] == ["notes.json"]


def test_only_its_owner_may_write_the_cache(tmp_path: Path) -> None:
    engine_cache.store(tmp_path / "a" / "engines", KEY, b"engine")
    assert (tmp_path / "a" / "engines").stat().st_mode & 0o777 == 0o700


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = engine_cache.store(tmp_path, KEY, b"old")

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        engine_cache.store(tmp_path, KEY, b"new")
    assert path.read_bytes() == b"old"
    assert sorted(left.suffix for left in tmp_path.iterdir()) == [".engine", ".json"]


def test_the_cache_lies_in_the_user_s_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engine_cache.cache_folder() == tmp_path / "stpn" / "engines"


# machines


class StandInDevice:
    """Stands in for pycuda.driver.Device."""

    def __init__(self, number: int) -> None:
        assert number == 0

    def name(self) -> str:
        return "NVIDIA L4"

    def compute_capability(self) -> tuple[int, int]:
        return (8, 9)


def machine_of(monkeypatch: pytest.MonkeyPatch, version: str | None, pycuda: bool = True, gpu: bool = True) -> None:
    """Stand-ins for what a machine has; None: no TensorRT."""
    tensorrt = ModuleType("tensorrt")
    tensorrt.__version__ = version  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt if version else None)
    driver, package = ModuleType("pycuda.driver"), ModuleType("pycuda")

    class Error(Exception):
        pass

    def init() -> None:
        if not gpu:
            raise Error("cuInit failed: no CUDA-capable device is detected")

    vars(driver).update(Error=Error, init=init, Device=StandInDevice, get_driver_version=lambda: 13020)
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package if pycuda else None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver if pycuda else None)


@pytest.mark.parametrize(
    ("has", "message"),
    [
        (
            {"version": None},
            r"TensorRT: expected the package tensorrt, got: .*; run: pip install tensorrt, or go on with",
        ),
        (
            {"version": "10.8.0.43"},
            r"TensorRT: expected 10\.9 or newer, got 10\.8\.0\.43; run: pip install -U tensorrt, or",
        ),
        (
            {"version": "10.9.0", "pycuda": False},
            r"TensorRT 10\.9\.0: expected the package pycuda, got: .*; run: pip install",
        ),
        (
            {"version": "11.4.1", "gpu": False},
            r"TensorRT 11\.4\.1: expected an NVIDIA GPU, got: cuInit failed: no CUDA-",
        ),
    ],
    ids=["no TensorRT", "too old", "no pycuda", "no GPU"],
)
def test_a_machine_without_says_why_in_one_line(
    monkeypatch: pytest.MonkeyPatch, has: dict[str, Any], message: str
) -> None:
    machine_of(monkeypatch, **has)
    with pytest.raises(TensorRTMissing, match=f"^{message}") as caught:
        find_machine()
    assert str(caught.value).endswith("go on with --device cpu")
    assert "\n" not in str(caught.value)


def test_a_machine_is_known_by_gpu_driver_and_tensorrt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine_of(monkeypatch, "10.13.2")
    told = tmp_path / "version"
    told.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version: 12.2.0"
    )
    assert find_machine(told) == MACHINE
    assert find_machine(tmp_path / "missing") == dataclasses.replace(MACHINE, driver="CUDA 13.2")


@pytest.mark.parametrize(
    ("method", "size", "shown"),
    [
        ("stpn", (1080, 1920), (1080, 1920)),
        ("aligned", (288, 512), (288, 512)),
        ("aligned", (270, 480), (272, 480)),
        ("hdr", (1080, 1920), (368, 640)),
        ("hdr", (2160, 4096), (272, 512)),
        ("mask", (270, 480), (272, 480)),
        ("mask", (1080, 1920), (288, 512)),
        ("mask", (2160, 4096), (272, 512)),
    ],
)
def test_the_graph_has_the_size_that_the_network_is_shown(
    method: str, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    assert network_size(NETWORKS[method](), *size) == shown


def test_masks_are_carried_at_that_size() -> None:
    """What others are shown of a plate: tests/plugin/test_engine_size.py."""
    for size in ((1080, 1920), (270, 481), (97, 33)):
        assert network_size(MaskRefiner(), *size) == padded(np.zeros(working_size(*size), np.float32)).shape
