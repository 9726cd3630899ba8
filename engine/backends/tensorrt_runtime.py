"""Runs an engine, several frames in flight; needs tensorrt and pycuda, and no torch.

Every frame in flight has a slot: a stream, an execution context, page-locked buffers here and buffers on the GPU.
Within a slot copying in, computing and copying out follow one another; those of different slots overlap.

    with EngineRunner(path, slots=2) as runner:
        ticket = runner.submit(planes)
        ...
        outputs = runner.result(ticket)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Planes = NDArray[Any]


class RunError(Exception):
    """An engine cannot be loaded or run; the message says what was expected, what came, and what to do."""


@dataclass(frozen=True)
class Ticket:
    """What `submit` gives, for `result`."""

    number: int


@dataclass(frozen=True)
class Port:
    """An input or output of the engine; its shape is fixed."""

    name: str
    is_input: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


@dataclass
class _Slot:
    """Attributes: ticket: of the frame that is in flight; None: free."""

    stream: Any
    done: Any
    context: Any
    host: dict[str, Planes] = field(default_factory=dict)
    device: dict[str, Any] = field(default_factory=dict)
    ticket: Ticket | None = None


class EngineRunner:
    """One engine on one GPU; to be used by one thread at a time, but for `wait`.

    Attributes:
        inputs, outputs: what the engine takes and gives, by name.
    """

    def __init__(self, engine: Path, slots: int = 2, device: int = 0) -> None:
        """Loads an engine.

        Args:
            engine: a file of `engine_build`, of this machine; it runs code, so it must come from this user's cache.
            slots: frames in flight.
            device: number of the GPU.

        Raises:
            RunError: no such file, or TensorRT refuses it.
            ImportError: no tensorrt or pycuda; `engine_build.find_machine` says so in better words.
        """
        if slots < 1:
            raise RunError(f"slots: expected at least 1, got {slots}")
        try:
            content = engine.read_bytes()
        except OSError as error:
            raise RunError(f"{engine}: expected an engine, got: {error.strerror}; run: stpn engine build") from error
        import pycuda.driver as cuda
        import tensorrt

        self._cuda = cuda
        self._slots: list[_Slot] = []
        self._count = 0
        cuda.init()
        # TensorRT works in the primary context
        self._primary: Any = cuda.Device(device).retain_primary_context()
        try:
            with self._current():
                self._logger = tensorrt.Logger(tensorrt.Logger.ERROR)
                self._runtime = tensorrt.Runtime(self._logger)
                self._engine = self._runtime.deserialize_cuda_engine(content)
                if self._engine is None:
                    raise RunError(
                        f"{engine}: expected an engine for this GPU and TensorRT {tensorrt.__version__}, TensorRT "
                        "refuses it; run: stpn engine clear, then stpn engine build"
                    )
                ports = [self._port(tensorrt, index) for index in range(self._engine.num_io_tensors)]
                self.inputs = {port.name: port for port in ports if port.is_input}
                self.outputs = {port.name: port for port in ports if not port.is_input}
                for _ in range(slots):
                    self._add_slot(ports)
        except BaseException:
            self.close()
            raise

    def submit(self, planes: Mapping[str, Planes]) -> Ticket:
        """Starts a frame; its planes may be changed as soon as this returns.

        Args:
            planes: every input by name, in its shape and type.

        Raises:
            RunError: an input that does not fit, all slots taken, or TensorRT refuses to run.
        """
        self._refuse_closed()
        self._refuse_wrong(planes)
        slot = next((slot for slot in self._slots if slot.ticket is None), None)
        if slot is None:
            raise RunError(f"expected at most {len(self._slots)} frames in flight, got one more; take a result first")
        with self._current():
            try:
                for name in self.inputs:
                    np.copyto(slot.host[name], planes[name])
                    self._cuda.memcpy_htod_async(slot.device[name], slot.host[name], slot.stream)
                if not slot.context.execute_async_v3(slot.stream.handle):
                    raise RunError("TensorRT refuses to run the engine; run: stpn engine clear, then stpn engine build")
                for name in self.outputs:
                    self._cuda.memcpy_dtoh_async(slot.host[name], slot.device[name], slot.stream)
                slot.done.record(slot.stream)
            except BaseException:
                # what was started may still use the buffers, which the next frame gets
                slot.stream.synchronize()
                raise
        self._count += 1
        slot.ticket = Ticket(self._count)
        return slot.ticket

    def wait(self, ticket: Ticket) -> None:
        """Waits for a frame, whose result can then be taken at once; other threads may use the engine meanwhile.

        Raises:
            RunError: no such frame is in flight.
        """
        slot = self._slot_of(ticket)
        with self._current():
            slot.done.synchronize()

    def result(self, ticket: Ticket) -> dict[str, Planes]:
        """Waits for a frame and takes its outputs by name, copies of its own; the slot is free again.

        Raises:
            RunError: no such frame is in flight: its result was taken already.
        """
        slot = self._slot_of(ticket)
        with self._current():
            try:
                slot.done.synchronize()
                return {name: slot.host[name].copy() for name in self.outputs}
            finally:
                slot.ticket = None

    def close(self) -> None:
        """Waits for what is in flight and frees everything; may be called again."""
        if self._primary is None:
            return
        with self._current():
            for slot in self._slots:
                # a GPU that has failed says so at every call; the rest must be freed all the same
                with suppress(self._cuda.Error):
                    slot.stream.synchronize()
                slot.context = None
                for buffer in [*slot.device.values(), *(host.base for host in slot.host.values())]:
                    with suppress(self._cuda.Error):
                        buffer.free()
                slot.device.clear()
                slot.host.clear()
                slot.stream = slot.done = None
            self._slots.clear()
            self._engine = self._runtime = None
        self._primary.detach()
        self._primary = None

    def __enter__(self) -> EngineRunner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _current(self) -> Iterator[None]:
        """The GPU's context for this thread, while it is needed."""
        self._primary.push()
        try:
            yield
        finally:
            self._cuda.Context.pop()

    def _port(self, tensorrt: Any, index: int) -> Port:
        name = self._engine.get_tensor_name(index)
        shape = tuple(self._engine.get_tensor_shape(name))
        if min(shape, default=1) < 0:
            raise RunError(f"{name}: expected an engine of fixed shapes, got {shape}; run: stpn engine build")
        is_input = self._engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT
        return Port(name, is_input, shape, np.dtype(tensorrt.nptype(self._engine.get_tensor_dtype(name))))

    def _add_slot(self, ports: list[Port]) -> None:
        context = self._engine.create_execution_context()
        if context is None:
            raise RunError(
                "expected memory on the GPU for another frame in flight, TensorRT found none; use fewer slots"
            )
        slot = _Slot(self._cuda.Stream(), self._cuda.Event(), context)
        self._slots.append(slot)  # so that `close` frees what follows even where it fails
        for port in ports:
            slot.host[port.name] = self._cuda.pagelocked_empty(port.shape, port.dtype)
            slot.device[port.name] = self._cuda.mem_alloc(slot.host[port.name].nbytes)
            if not context.set_tensor_address(port.name, int(slot.device[port.name])):
                raise RunError(f"{port.name}: expected TensorRT to take its buffer, it refuses; run: stpn engine build")

    def _slot_of(self, ticket: Ticket) -> _Slot:
        self._refuse_closed()
        slot = next((slot for slot in self._slots if slot.ticket == ticket), None)
        if slot is None:
            raise RunError(f"ticket {ticket.number}: expected a frame in flight; every result can be taken once")
        return slot

    def _refuse_closed(self) -> None:
        if self._primary is None:
            raise RunError("expected an open engine, got one that was closed")

    def _refuse_wrong(self, planes: Mapping[str, Planes]) -> None:
        if planes.keys() != self.inputs.keys():
            raise RunError(f"inputs: expected {sorted(self.inputs)}, got {sorted(planes)}")
        for name, port in self.inputs.items():
            got = planes[name]
            if got.shape != port.shape or got.dtype != port.dtype:
                raise RunError(f"{name}: expected {port.dtype} {port.shape}, got {got.dtype} {got.shape}")
