"""What a device is refused for: asked of stand-ins for the driver, for torch and for TensorRT."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from stpn.engine.aligned_network import AlignedFusion
from stpn.engine.backends import tensorrt_network, tensorrt_runtime
from stpn.engine.backends.engine_build import network_size
from stpn.engine.backends.tensorrt_runtime import RunError
from stpn.engine.network import SwitchableTPN
from stpn.engine.propagation import driver
from stpn.engine.propagation.compile import CompileError
from stpn.engine.properties.mask_network import MaskRefiner
from stpn.plugin import device, machine
from stpn.plugin.device import choose_device, why_no_cuda
from stpn.plugin.networks import on_device
from stpn.plugin.request import RequestError


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that torch can use."""
    monkeypatch.setattr(device, "why_no_cuda", why_no_cuda)
    monkeypatch.setattr(machine, "nvidia_gpus", lambda: ("NVIDIA L4", ["NVIDIA L4"]))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(driver, "load", lambda: None)


@pytest.mark.usefixtures("gpu")
def test_a_gpu_is_taken() -> None:
    assert choose_device("cuda") == ("cuda", "cuda, as asked")
    assert choose_device("auto") == ("cuda", "cuda, NVIDIA L4")
    assert choose_device("cpu") == ("cpu", "cpu, as asked")


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("kind", [CompileError, driver.DriverError])
def test_a_gpu_for_which_no_kernel_can_be_loaded_is_refused_before_anything_starts(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise kind("expected nvcc, found none")

    monkeypatch.setattr(driver, "load", refused)
    with pytest.raises(RequestError, match=r"^--device cuda: .*, expected nvcc, found none; use --device cpu$"):
        choose_device("cuda")
    assert choose_device("auto") == ("cpu", "cpu, expected nvcc, found none")


@pytest.mark.usefixtures("gpu")
def test_torch_that_cannot_use_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert why_no_cuda() == f"torch {torch.__version__} does not find the GPU that the driver has"
    monkeypatch.setattr(torch.version, "cuda", None)
    assert why_no_cuda() == f"torch {torch.__version__} is built without CUDA"


@pytest.mark.parametrize(
    ("network", "size", "asked"),
    [
        (MaskRefiner(), (1080, 1920), "--method aligned --size 1920x1080"),
        (AlignedFusion(), (1080, 1920), "--method aligned --size 1920x1080"),
        (SwitchableTPN(), (32, 48), "--method stpn --size 48x32"),
    ],
)
def test_without_an_engine_a_network_says_how_to_build_it(
    network: Any, size: tuple[int, int], asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    monkeypatch.setattr(tensorrt_network, "find_machine", lambda: None)
    monkeypatch.setattr(
        tensorrt_network, "plan_engine", lambda _, *size: shown.append(size[:2]) or SimpleNamespace(key=None)
    )
    monkeypatch.setattr(tensorrt_network, "find", lambda folder, key: None)
    with pytest.raises(RequestError, match=f"^--device tensorrt: expected an engine for .* build {asked}, with"):
        on_device(network, "tensorrt", *size)
    assert shown == [network_size(network, *size)]


def test_an_engine_that_tensorrt_refuses_is_a_wrong_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, slots: int) -> None:
        raise RunError(f"{path}: TensorRT refuses it")

    monkeypatch.setattr(tensorrt_network, "engine_file", lambda network, height, width: Path("mask.engine"))
    monkeypatch.setattr(tensorrt_runtime, "EngineRunner", refused)
    with pytest.raises(RequestError, match=r"^--device tensorrt: mask\.engine: TensorRT refuses it$"):
        on_device(MaskRefiner(), "tensorrt", 32, 48)


@pytest.mark.gpu
def test_the_kernels_are_loaded_on_a_gpu() -> None:
    assert why_no_cuda() == ""
