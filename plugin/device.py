"""What the work runs on, and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stpn.plugin import machine
from stpn.plugin.request import RequestError


def choose_device(asked: str) -> tuple[str, str]:
    """The device for `auto`, `cpu`, `cuda` or `tensorrt`, and the reason in words.

    Motion is estimated on the CPU whatever the device is; what a device runs is the method's network.

    Raises:
        RequestError: the device was named and cannot be used here; there is no quiet fallback.
    """
    if asked == "cpu":
        return "cpu", "cpu, as asked"
    if asked == "tensorrt":
        return "tensorrt", f"tensorrt {_tensorrt()}"
    missing = why_no_cuda()
    if asked == "cuda":
        if missing:
            raise RequestError(f"--device cuda: expected an NVIDIA GPU for torch, {missing}; use --device cpu")
        return "cuda", "cuda, as asked"
    if missing:
        return "cpu", f"cpu, {missing}"
    return "cuda", f"cuda, {machine.nvidia_gpus()[0]}"


def _tensorrt() -> str:
    """Version of TensorRT and name of the GPU."""
    from stpn.engine.backends.engine_build import TensorRTMissing, find_machine

    try:
        found = find_machine()
    except TensorRTMissing as error:
        raise RequestError(f"--device tensorrt: {error}") from error
    return f"{found.tensorrt}, {found.gpu}"


def why_no_cuda() -> str:
    """Why neither torch nor our kernels can compute on a GPU here; "" where they can.

    Asks the driver first, which is quick. Kernels are compiled at their first use on a machine, which takes seconds.
    """
    found, gpus = machine.nvidia_gpus()
    if not gpus:
        return found.removeprefix("none: ")
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    if not torch.cuda.is_available():
        return f"torch {torch.__version__} does not find the GPU that the driver has"
    from stpn.engine.propagation.compile import CompileError
    from stpn.engine.propagation.driver import DriverError, load

    try:
        load()
    except (CompileError, DriverError) as error:
        return str(error)
    return ""


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """So many threads for torch, and then as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
