"""Running engines: the order of what is done, on stand-ins for tensorrt and pycuda; at the end, marked gpu, engines
that are really built and run, against torch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stpn.engine.backends.engine_build import TensorRTMissing, find_machine, make_engine, plan_engine
from stpn.engine.backends.engine_cache import Machine
from stpn.engine.backends.tensorrt_runtime import EngineRunner, RunError, Ticket


class CudaError(Exception):
    """Stands in for pycuda.driver.Error."""


class StandIns:
    """Stands in for pycuda.driver and tensorrt: an engine that doubles `x` into `y`, when its stream is waited for.

    Attributes:
        done: what was called, in order.
        alive: buffers, page-locked and on the GPU, that were not freed.
        fail: name of a call that fails once.
        shape: of x and y.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self.alive: set[int] = set()
        self.fail = ""
        self.shape = (2, 3)
        self.pushed = 0
        self.streams = 0

    def call(self, name: str) -> None:
        assert self.pushed > 0, f"{name} outside of the GPU's context"
        self.done.append(name)
        if self.fail == name.split(" ")[0]:
            self.fail = ""
            raise CudaError(f"{name} failed")

    def modules(self) -> tuple[ModuleType, ModuleType]:
        outer = self

        class Buffer:
            def __init__(self, kind: str) -> None:
                outer.call(f"{kind}_alloc")
                outer.alive.add(id(self))
                self.memory = np.zeros(outer.shape, np.float32)

            def __int__(self) -> int:
                return id(self)

            def free(self) -> None:
                outer.call("free")
                outer.alive.remove(id(self))

        class PageLocked(np.ndarray[Any, Any]):
            """An array whose base is its memory, as pycuda's are."""

            owner: Buffer

            @property
            def base(self) -> Any:
                return self.owner

        def pagelocked_empty(shape: tuple[int, ...], dtype: Any) -> PageLocked:
            array = np.zeros(shape, dtype).view(PageLocked)
            array.owner = Buffer("host")
            return array

        class Stream:
            def __init__(self) -> None:
                outer.call("stream")
                self.handle, self.waiting = self, []
                self.number = outer.streams
                outer.streams += 1

            def synchronize(self) -> None:
                outer.call(f"wait {self.number}")
                for work in self.waiting:
                    work()
                self.waiting.clear()

        class Event:
            def record(self, stream: Stream) -> None:
                outer.call(f"record {stream.number}")
                self.stream = stream

            def synchronize(self) -> None:
                self.stream.synchronize()

        def to_device(target: Buffer, source: Any, stream: Stream) -> None:
            outer.call(f"in {stream.number}")
            stream.waiting.append(lambda: np.copyto(target.memory, source))

        def to_host(target: Any, source: Buffer, stream: Stream) -> None:
            outer.call(f"out {stream.number}")
            stream.waiting.append(lambda: np.copyto(target, source.memory))

        class Primary:
            def push(self) -> None:
                outer.pushed += 1

            def detach(self) -> None:
                assert not outer.pushed
                outer.done.append("detach")

        def pop() -> None:
            outer.pushed -= 1

        buffers: dict[int, Buffer] = {}

        def mem_alloc(size: int) -> Buffer:
            assert size == 4 * int(np.prod(outer.shape))
            buffer = Buffer("device")
            buffers[int(buffer)] = buffer
            return buffer

        class Context:
            def __init__(self) -> None:
                self.at: dict[str, Buffer] = {}

            def set_tensor_address(self, name: str, address: int) -> bool:
                self.at[name] = buffers[address]
                return outer.fail != "address"

            def execute_async_v3(self, stream: Stream) -> bool:
                if outer.fail == "refuse":
                    outer.fail = ""
                    return False
                outer.call(f"run {stream.number}")
                x, y = self.at["x"], self.at["y"]
                stream.waiting.append(lambda: np.copyto(y.memory, 2 * x.memory))
                return True

        class Engine:
            num_io_tensors = 2
            create_execution_context = Context

            def get_tensor_name(self, index: int) -> str:
                return "xy"[index]

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                return outer.shape

            def get_tensor_mode(self, name: str) -> str:
                return "in" if name == "x" else "out"

            def get_tensor_dtype(self, name: str) -> str:
                return "FLOAT"

        cuda, tensorrt = ModuleType("pycuda.driver"), ModuleType("tensorrt")
        vars(cuda).update(
            Error=CudaError,
            init=lambda: None,
            Device=lambda number: SimpleNamespace(retain_primary_context=Primary),
            Context=SimpleNamespace(pop=pop),
            Stream=Stream,
            Event=Event,
            pagelocked_empty=pagelocked_empty,
            mem_alloc=mem_alloc,
            memcpy_htod_async=to_device,
            memcpy_dtoh_async=to_host,
        )
        logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
        vars(tensorrt).update(
            __version__="10.13.2",
            Logger=logger,
            Runtime=lambda log: SimpleNamespace(
                deserialize_cuda_engine=lambda content: Engine() if content == b"engine" else None
            ),
            TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
            nptype=lambda kind: np.float32,
        )
        return cuda, tensorrt


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> StandIns:
    stand_ins = StandIns()
    cuda, tensorrt = stand_ins.modules()
    package = ModuleType("pycuda")
    package.driver = cuda  # type: ignore[attr-defined]
    for name, module in {"pycuda": package, "pycuda.driver": cuda, "tensorrt": tensorrt}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return stand_ins


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    path = tmp_path / "some.engine"
    path.write_bytes(b"engine")
    return path


def frame(number: float) -> dict[str, Any]:
    return {"x": np.full((2, 3), number, np.float32)}


def test_frames_in_flight_do_not_disturb_one_another(stand_ins: StandIns, engine: Path) -> None:
    with EngineRunner(engine, slots=2) as runner:
        first, second = runner.submit(frame(1)), runner.submit(frame(2))
        order = [name for name in stand_ins.done if name.split(" ")[0] in ("in", "run", "out", "wait")]
        assert order == ["in 0", "run 0", "out 0", "in 1", "run 1", "out 1"]  # nothing waits
        got = runner.result(first)["y"]
        third = runner.submit(frame(3))
        assert (runner.result(second)["y"] == 4).all()
        assert (runner.result(third)["y"] == 6).all()
        assert (got == 2).all()  # of its own: the slot has served another frame since


def test_planes_may_be_changed_once_they_are_submitted(stand_ins: StandIns, engine: Path) -> None:
    with EngineRunner(engine, slots=1) as runner:
        planes = frame(1)
        ticket = runner.submit(planes)
        planes["x"][:] = 9
        assert (runner.result(ticket)["y"] == 2).all()


def test_no_buffer_is_used_again_before_its_result_is_taken(stand_ins: StandIns, engine: Path) -> None:
    with EngineRunner(engine, slots=2) as runner:
        tickets = [runner.submit(frame(1)), runner.submit(frame(2))]
        copies = stand_ins.done.count("in 0")
        with pytest.raises(RunError, match=r"^expected at most 2 frames in flight, got one more; take a result first$"):
            runner.submit(frame(3))
        assert stand_ins.done.count("in 0") == copies
        assert (runner.result(tickets[0])["y"] == 2).all()
        with pytest.raises(RunError, match=r"^ticket 1: expected a frame in flight; every result can be taken once$"):
            runner.result(tickets[0])
        with pytest.raises(RunError, match="ticket 99"):
            runner.result(Ticket(99))


def test_closing_waits_and_frees_everything_once(stand_ins: StandIns, engine: Path) -> None:
    runner = EngineRunner(engine, slots=3)
    assert len(stand_ins.alive) == 3 * 4
    runner.submit(frame(1))
    runner.close()
    runner.close()
    assert not stand_ins.alive
    assert stand_ins.done[-1] == "detach"
    assert stand_ins.done.count("detach") == 1
    assert stand_ins.done.index("wait 0") < stand_ins.done.index("free")
    assert stand_ins.pushed == 0
    for use in (lambda: runner.submit(frame(1)), lambda: runner.result(Ticket(1))):
        with pytest.raises(RunError, match="expected an open engine, got one that was closed"):
            use()


@pytest.mark.parametrize("fail", ["stream", "host_alloc", "device_alloc", "address"])
def test_what_fails_while_loading_leaves_nothing(stand_ins: StandIns, engine: Path, fail: str) -> None:
    stand_ins.fail = fail
    with pytest.raises((CudaError, RunError)):
        EngineRunner(engine)
    assert not stand_ins.alive
    assert (stand_ins.done[-1], stand_ins.pushed) == ("detach", 0)


@pytest.mark.parametrize("fail", ["in", "run", "refuse", "out", "record"])
def test_what_fails_while_submitting_waits_and_leaves_the_slot_free(
    stand_ins: StandIns, engine: Path, fail: str
) -> None:
    with EngineRunner(engine, slots=1) as runner:
        stand_ins.fail = fail
        with pytest.raises((CudaError, RunError)):
            runner.submit(frame(1))
        assert stand_ins.done[-1] == "wait 0"
        assert (runner.result(runner.submit(frame(2)))["y"] == 4).all()
    assert not stand_ins.alive


def test_a_frame_that_failed_frees_its_slot(stand_ins: StandIns, engine: Path) -> None:
    with EngineRunner(engine, slots=1) as runner:
        ticket = runner.submit(frame(1))
        stand_ins.fail = "wait"
        with pytest.raises(CudaError):
            runner.result(ticket)
        assert (runner.result(runner.submit(frame(2)))["y"] == 4).all()


def test_a_gpu_that_has_failed_is_closed_all_the_same(stand_ins: StandIns, engine: Path) -> None:
    runner = EngineRunner(engine, slots=1)
    runner.submit(frame(1))
    stand_ins.fail = "wait"
    runner.close()
    assert not stand_ins.alive


def test_what_does_not_fit_is_named(stand_ins: StandIns, engine: Path, tmp_path: Path) -> None:
    with EngineRunner(engine) as runner:
        with pytest.raises(RunError, match=r"^inputs: expected \['x'\], got \['z'\]$"):
            runner.submit({"z": np.zeros(1)})
        with pytest.raises(RunError, match=r"^x: expected float32 \(2, 3\), got float64 \(2, 3\)$"):
            runner.submit({"x": np.zeros((2, 3))})
    with pytest.raises(RunError, match=r"^slots: expected at least 1, got 0$"):
        EngineRunner(engine, slots=0)
    with pytest.raises(
        RunError, match=r"missing: expected an engine, got: No such file or directory; run: stpn engine"
    ):
        EngineRunner(tmp_path / "missing")
    engine.write_bytes(b"of another GPU")
    with pytest.raises(
        RunError, match=r"expected an engine for this GPU and TensorRT 10\.13\.2, TensorRT refuses it; run"
    ):
        EngineRunner(engine)
    stand_ins.shape = (-1, 3)
    engine.write_bytes(b"engine")
    with pytest.raises(
        RunError, match=r"^x: expected an engine of fixed shapes, got \(-1, 3\); run: stpn engine build$"
    ):
        EngineRunner(engine)


def test_a_frame_can_be_waited_for_before_it_is_taken(stand_ins: StandIns, engine: Path) -> None:
    with EngineRunner(engine) as runner:
        ticket = runner.submit({"x": np.full((2, 3), 2, np.float32)})
        runner.wait(ticket)
        assert stand_ins.done[-1] == "wait 0"
        assert (runner.result(ticket)["y"] == 4).all()
        with pytest.raises(RunError, match=r"^ticket 1: expected a frame in flight"):
            runner.wait(ticket)


class Crowded:
    """Stands in for a runner of three slots whose frames are done when all three are there."""

    def __init__(self) -> None:
        self.all_there, self.within, self.taken = threading.Barrier(3, timeout=20), 0, 0

    def alone(self) -> None:
        self.within += 1
        time.sleep(0.001)
        assert self.within == 1, "two threads at once"
        self.within -= 1

    def submit(self, planes: dict[str, Any]) -> Any:
        self.alone()
        self.taken += 1
        assert self.taken <= 3
        return planes["x"]

    def wait(self, ticket: Any) -> None:
        self.all_there.wait()
        if ticket == 5:
            raise RunError("the GPU failed")

    def result(self, ticket: Any) -> dict[str, Any]:
        self.alone()
        self.taken -= 1
        return {"y": 2 * ticket}


def test_threads_begin_frames_while_others_wait() -> None:
    from stpn.engine.backends.tensorrt_network import shared

    runner = Crowded()
    run = shared(runner, 3)  # type: ignore[arg-type]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda x: run({"x": x})["y"], [0, 1, 2, 3, 4, 6])) == [0, 2, 4, 6, 8, 12]
        failing = [pool.submit(run, {"x": x}) for x in (7, 8, 5)]
        assert [future.exception() is None for future in failing] == [True, True, False]
    assert runner.taken == 0


def test_running_needs_no_torch() -> None:
    modules = "stpn.engine.backends.tensorrt_runtime, stpn.engine.backends.engine_cache"
    code = f"import sys, {modules}; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


# the real ones


@pytest.fixture
def machine() -> Machine:
    try:
        return find_machine()
    except TensorRTMissing as error:
        if os.environ.get("STPN_REQUIRE_GPU") == "1":
            pytest.fail(f"STPN_REQUIRE_GPU=1 asks for TensorRT: {error}", pytrace=False)
        pytest.skip(f"needs TensorRT: {error}")


@pytest.mark.gpu
@pytest.mark.parametrize(("half", "tolerance"), [(False, 1e-3), (True, 2e-2)], ids=["float32", "half"])
@pytest.mark.parametrize(
    ("weights", "height", "width"), [("color", 72, 100), ("aligned", 64, 96), ("hdr", 48, 64), ("mask", 64, 96)]
)
def test_an_engine_gives_what_torch_gives(
    machine: Machine, tmp_path: Path, weights: str, height: int, width: int, half: bool, tolerance: float
) -> None:
    import torch

    from stpn.engine.backends.onnx_export import _one_by_one, example_inputs
    from stpn.engine.weights import load_aligned, load_mask, load_network, shipped

    load: dict[str, Any] = {"color": load_network, "mask": load_mask}
    network = load.get(weights, load_aligned)(shipped(weights))
    plan = plan_engine(network, height, width, machine, half=half, weights=weights)
    frames = [example_inputs(network, height, width, seed=seed) for seed in range(3)]
    module, names = _one_by_one(network, list(frames[0]))
    with EngineRunner(make_engine(plan, tmp_path), slots=3) as runner:
        tickets = [runner.submit({name: plane.numpy() for name, plane in planes.items()}) for planes in frames]
        for planes, ticket in zip(frames, tickets, strict=True):
            got = runner.result(ticket)
            with torch.no_grad():
                made = module(*planes.values())
            for name, plane in zip(names, (made,) if isinstance(made, torch.Tensor) else made, strict=True):
                assert np.abs(got[name] - plane.numpy()).max() <= tolerance * float(plane.abs().max()), name
