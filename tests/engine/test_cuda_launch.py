"""How the GPU kernels are compiled, launched and made torch operators: what can be said of it without a GPU."""

from __future__ import annotations

import ctypes
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from stpn.engine.propagation import compile as compiling
from stpn.engine.propagation import cuda, driver
from stpn.engine.propagation import launch as rules
from stpn.engine.propagation.compile import HEADER, CompileError, compiled

NO_SPILL = ("sm_80", "sm_90", "sm_120")


@pytest.fixture(scope="module")
def nvcc() -> str:
    found = compiling.find_nvcc()
    if not found:
        pytest.skip("needs nvcc of a CUDA toolkit; none is on PATH or under CUDA_HOME")
    return found


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90", "sm_100", "sm_120"])
def test_every_architecture_compiles_and_none_spills(
    nvcc: str, architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ptxas says how many bytes of registers go to memory; the other architectures only translate."""
    if architecture not in NO_SPILL:
        assert b".entry stpn_propagate_f32" in compiling.compile_with_nvcc(nvcc, architecture, "ptx")
        return
    log: list[str] = []
    honest = compiling.subprocess.run

    def listening(*args: Any, **options: Any) -> Any:
        run = honest(*args, **options)
        log.append(run.stdout + run.stderr)
        return run

    monkeypatch.setattr(compiling.subprocess, "run", listening)
    assert compiling.compile_with_nvcc(nvcc, architecture, "cubin", "-Xptxas", "-v")[:4] == b"\x7fELF"
    said = re.findall(r"entry function '(\w+)'.*?(\d+) bytes spill stores, (\d+) bytes spill loads", log[0], re.DOTALL)
    assert {name for name, _, _ in said} == set(rules.KERNELS)
    assert [(name, stores, loads) for name, stores, loads in said if stores != "0" or loads != "0"] == []


def test_parameters_of_the_kernels_are_those_of_the_launch_rules(nvcc: str) -> None:
    text = compiling.compile_with_nvcc(nvcc, "sm_80", "ptx").decode()
    entries = dict(re.findall(r"\.visible \.entry (\w+)\((.*?)\)", text, re.DOTALL))
    assert set(entries) == set(rules.KERNELS)
    for name, kernel in rules.KERNELS.items():
        types = re.findall(r"\.param \.(\w+)", entries[name])
        expected = ["u64"] * len(kernel.inputs) + ["u32"] * len(rules.NUMBERS) + ["u64"] * len(kernel.outputs)
        assert types == expected, name


def test_nvrtc_compiles_too() -> None:
    library = compiling.find_nvrtc()
    if not library:
        pytest.skip("needs NVRTC, of the package nvidia-cuda-nvrtc or a CUDA toolkit; none is there")
    assert compiling.compile_with_nvrtc(library, "sm_90", "cubin")[:4] == b"\x7fELF"
    with pytest.raises(CompileError, match=r"for sm_10: .*architecture"):
        compiling.compile_with_nvrtc(library, "sm_10", "cubin")


def test_compiled_code_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = []
    monkeypatch.setattr(compiling, "find_nvcc", lambda: "nvcc")
    monkeypatch.setattr(compiling, "compile_with_nvcc", lambda *args: asked.append(args) or b"code")
    assert compiled("sm_90") == compiled("sm_90") == b"code"
    assert compiled("sm_80") == compiled("sm_90", "ptx") == b"code"
    assert asked == [("nvcc", "sm_90", "cubin"), ("nvcc", "sm_80", "cubin"), ("nvcc", "sm_90", "ptx")]
    assert len([file for file in tmp_path.rglob("*") if file.is_file()]) == 3


def test_compile_errors_are_one_line_that_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(CompileError, match="architecture: expected a name such as sm_90, got '90'"):
        compiled("90")
    monkeypatch.setattr(compiling, "find_nvcc", lambda: None)
    monkeypatch.setattr(compiling, "find_nvrtc", lambda: None)
    with pytest.raises(CompileError, match=r"expected nvcc .* or the NVRTC library, found neither; install [^\n]*$"):
        compiled("sm_90")
    with pytest.raises(CompileError, match=r"libnothing\.so cannot be loaded"):
        compiling.compile_with_nvrtc("libnothing.so", "sm_90", "ptx")
    refusing = shutil.which("false")
    if refusing:
        with pytest.raises(CompileError, match=r"compiling the GPU kernel for sm_90: .*false: failed$"):
            compiling.compile_with_nvcc(refusing, "sm_90", "ptx")


def test_constants_are_those_of_the_kernel() -> None:
    source = HEADER.read_text()
    assert f"constexpr int kSteps = {rules.STEPS};" in source
    assert f"constexpr int kMaxThreads = {rules.MAX_THREADS};" in source


@pytest.mark.parametrize(
    ("kernel", "sizes", "expected"),
    [
        ("stpn_propagate_f16", (2, 32, 64, 64, 1), rules.Launch(64, 64, 4 * (64 * 9 + 4 * 66 + 8 + 64))),
        ("stpn_propagate_f32", (1, 2, 1, 1, 2), rules.Launch(2, 32, 4 * (32 * 9 + 4 * 34 + 8 + 1))),
        ("stpn_gather_f32", (1, 3, 1080, 1920, 1), rules.Launch(3, 512, 4 * (512 * 9 + 4 * 514 + 8 + 1920))),
        ("stpn_propagate_scans_f32", (2, 3, 5, 33, 3), rules.Launch(48, 64, 4 * (64 * 9 + 4 * 66 + 8 + 33))),
        ("stpn_propagate_gate_gradient_f32", (2, 3, 16, 17, 3), rules.Launch(2 * 4 * 3 * 2, 256, 0)),
        ("stpn_gather_gate_gradient_f32", (2, 3, 16, 16, 1), rules.Launch(2 * 4, 256, 0)),
        ("stpn_propagate_map_gradient_f32", (2, 3, 16, 17, 1), rules.Launch(2 * 3 * 2, 256, 0)),
    ],
)
def test_launch(kernel: str, sizes: tuple[int, int, int, int, int], expected: rules.Launch) -> None:
    assert rules.launch(kernel, *sizes) == expected


def test_4k_planes_fit_the_shared_memory_that_needs_no_asking() -> None:
    assert rules.launch("stpn_propagate_f32", 1, 1, 2160, 3840, 1).shared <= rules.DEFAULT_SHARED_BYTES
    assert rules.shared_bytes(rules.SYMBOLIC_THREADS, 2160 + 3840) <= rules.DEFAULT_SHARED_BYTES


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((1, 2, 0, 4, 1), "height: expected at least 1, got 0"),
        ((1, 3, 4, 4, 2), "gate_channels: expected 1 or 3, got 2"),
        ((1, 1, 2**16, 2**16, 1), r"expected planes and a grid below 2\^31, got 65536x65536 pixels and 1 blocks"),
    ],
)
def test_sizes_that_cannot_be_launched(sizes: tuple[int, int, int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rules.launch("stpn_propagate_f32", *sizes)


class Driver:
    """A CUDA driver that agrees to everything and notes it, or refuses one call."""

    def __init__(self, refuses: str = "") -> None:
        self.refuses = refuses
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.watcher: Any = lambda function, *arguments: None

    def __getattr__(self, function: str) -> Any:
        def call(*arguments: Any) -> int:
            if function == "cuGetErrorString":
                arguments[1]._obj.value = b"out of memory"
                return 0
            self.calls.append((function, arguments))
            self.watcher(function, *arguments)
            if function == "cuLaunchKernel":  # read what the driver would read, while it lives
                kinds = [ctypes.c_uint64, ctypes.c_uint64, *[ctypes.c_int32] * 5, ctypes.c_uint64]
                self.arguments = [t.from_address(a).value for t, a in zip(kinds, arguments[9], strict=True)]
            return 2 if function == self.refuses else 0

        return call


@pytest.fixture
def fake_driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    class Stream:
        device_index, cuda_stream = 0, 77

    fake = Driver()
    monkeypatch.setattr(driver, "_driver", lambda: fake)
    monkeypatch.setattr(driver, "compiled", lambda architecture: architecture.encode())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream())
    driver._device.cache_clear()
    return fake


def test_what_the_driver_is_told(fake_driver: Driver) -> None:
    x, gates = torch.zeros(2, 3, 4, 5000), torch.zeros(2, 4, 1, 3, 4, 5000)
    with torch.inference_mode():
        out = cuda.propagate_cuda(x, gates, switched=True)
    names = [name for name, _ in fake_driver.calls]
    loading = ["cuDevicePrimaryCtxRetain", "cuCtxPushCurrent_v2", "cuModuleLoadData", "cuCtxPopCurrent_v2"]
    starting = ["cuCtxPushCurrent_v2", "cuModuleGetFunction", "cuLaunchKernel", "cuCtxPopCurrent_v2"]
    assert names == loading + starting
    assert fake_driver.calls[2][1][1] == b"sm_90"
    assert fake_driver.calls[5][1][2] == b"stpn_propagate_f32"
    sizes = [argument.value for argument in fake_driver.calls[6][1][1:9]]
    wanted = rules.launch("stpn_propagate_f32", 2, 3, 4, 5000, 1)
    assert sizes == [wanted.grid, 1, 1, wanted.block, 1, 1, wanted.shared, 77]
    assert fake_driver.arguments == [x.data_ptr(), gates.data_ptr(), 3, 4, 5000, 1, 1, out.data_ptr()]


def test_planes_reach_the_kernel_in_their_order_whatever_the_layout_was(fake_driver: Driver) -> None:
    """Convolutions of a GPU leave channels last."""
    x = torch.arange(2.0 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    gates = torch.arange(2.0 * 4 * 3 * 4 * 5).reshape(2, 4, 1, 3, 4, 5)
    turned = gates.flatten(1, 3).contiguous(memory_format=torch.channels_last).unflatten(1, (4, 1, 3))
    seen = []

    def reading(function: str, *arguments: Any) -> None:
        if function == "cuLaunchKernel":
            pointers = [ctypes.c_uint64.from_address(arguments[9][index]).value for index in (0, 1)]
            for pointer, like in zip(pointers, (x, gates), strict=True):
                memory = (ctypes.c_float * like.numel()).from_address(pointer)
                seen.append(torch.tensor(list(memory)).reshape(like.shape))

    fake_driver.watcher = reading
    with torch.inference_mode():
        out = cuda.propagate_cuda(x.contiguous(memory_format=torch.channels_last), turned)
    assert [torch.equal(one, like) for one, like in zip(seen, (x, gates), strict=True)] == [True, True]
    assert out.is_contiguous()


def test_more_shared_memory_than_usual_is_asked_for(fake_driver: Driver) -> None:
    with torch.inference_mode():
        cuda.propagate_cuda(torch.zeros(1, 1, 1, 7680), torch.zeros(1, 4, 1, 3, 1, 7680))
    asked = [arguments for name, arguments in fake_driver.calls if name == "cuFuncSetAttribute"]
    assert [argument.value for argument in asked[0][1:]] == [
        8,
        rules.launch("stpn_propagate_f32", 1, 1, 1, 7680, 1).shared,
    ]


def test_a_refusal_of_the_driver_names_the_call_and_the_reason(fake_driver: Driver) -> None:
    fake_driver.refuses = "cuLaunchKernel"
    with torch.inference_mode(), pytest.raises(driver.DriverError, match=r"^cuLaunchKernel: .*got: out of memory$"):
        cuda.propagate_cuda(torch.zeros(1, 1, 2, 2), torch.zeros(1, 4, 1, 3, 2, 2))
    assert fake_driver.calls[-1][0] == "cuCtxPopCurrent_v2"


def test_an_empty_batch_starts_nothing(fake_driver: Driver) -> None:
    with torch.inference_mode():
        assert cuda.propagate_cuda(torch.zeros(0, 2, 3, 4), torch.zeros(0, 4, 1, 3, 3, 4)).shape == (0, 2, 3, 4)
    assert fake_driver.calls == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("learns", [False, True])
def test_shapes_and_gradients_without_running(dtype: torch.dtype, learns: bool) -> None:
    """The operators as torch's compiler sees them: shapes alone, on the device `meta`."""
    x = torch.empty(2, 3, 5, 7, dtype=dtype, device="meta", requires_grad=learns)
    gates = torch.empty(2, 4, 1, 3, 5, 7, dtype=dtype, device="meta", requires_grad=learns)
    for out in (cuda.propagate_cuda(x, gates), cuda.gather_cuda(x, gates[:, :, 0])):
        assert (out.shape, out.dtype, out.device.type) == (x.shape, dtype, "meta")
        if learns:
            for grad, of in zip(torch.autograd.grad(out.sum(), (x, gates)), (x, gates), strict=True):
                assert (grad.shape, grad.dtype) == (of.shape, dtype)


def test_wrong_input_is_refused_with_what_was_expected_and_got() -> None:
    x, gates = torch.zeros(1, 2, 3, 4), torch.zeros(1, 4, 1, 3, 3, 4)
    with pytest.raises(ValueError, match=r"gates: expected \(1, 4, 2 or 1, 3, 3, 4\)"):
        cuda.propagate_cuda(x, gates[..., :3])
    with pytest.raises(ValueError, match=r"property_map: expected float32 or float16 .*, got torch.float64"):
        cuda.propagate_cuda(x.double(), gates.double())
    with pytest.raises(ValueError, match=r"gates: expected \(B, 4, 3, H, W\), got shape \(1, 4, 1, 3, 3, 4\)"):
        cuda.gather_cuda(x, gates)
    with pytest.raises(ValueError, match=r"sources: expected float32 or float16"):
        cuda.gather_cuda(x.double(), gates.double()[:, :, 0])
