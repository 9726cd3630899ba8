"""CUDA graphs: what a network does to inputs of one form is recorded once, and from then on started as one.

A network is hundreds of small kernels; started one by one they keep a fast GPU waiting for the processor. A form is
seen once before it is recorded, so that a size that comes once costs nothing more. Buffers are of the recording's own:
inputs are copied in, results are copied out, and calls of one network follow one another, whichever threads they come
from.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from stpn.engine.device import device_of

KEPT = 4
"""Forms of input, of one network, that are remembered; the one that was not asked for the longest goes first."""

# libraries load kernels and reserve memory at their first calls, which no recording may hold
_WARM_UPS = 2

_log = logging.getLogger(__name__)
_lock = threading.Lock()
# one recording at a time, of all networks
_recording = threading.Lock()
_of: WeakKeyDictionary[nn.Module, _Recordings] = WeakKeyDictionary()
# a recording that failed: torch's allocator may still refer to it, so that it stays, and none is made after it
_failed: list[Any] = []

T = TypeVar("T")


def replayed(call: Callable[..., T], *given: Any) -> T:
    """What a method of a network gives, started as a CUDA graph where its device and its history allow that.

    On a CPU, and where gradients are asked for, this is `call(*given)`. On a GPU a form of input that is seen for the
    second time is recorded, and replayed from then on: the same kernels on the same numbers. The form is the method,
    shapes, strides and types of all tensors, which of them are None, autocast and inference mode. A recording reads the
    weights where they lie: new values in the same place count, and weights that have moved are recorded anew.

    Where a recording fails, the reason is logged once as a warning, and everything runs unrecorded from then on.

    Args:
        call: a bound method of a network, with neither randomness nor a result that the processor waits for inside.
        given: tensors on the network's device, None, and lists, tuples and dataclasses of these.

    Returns:
        As `call`: tensors, and lists, tuples and dataclasses of them.
    """
    network = cast(Any, call).__self__
    if _failed or device_of(network).type != "cuda" or torch.is_grad_enabled():
        return call(*given)
    with _lock:
        recordings = _of.setdefault(network, _Recordings())
    return recordings.run(call, given)


class _Recordings:
    """The graphs of one network; their buffers serve one call at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # None: of a form that was seen once
        self._kept: OrderedDict[Hashable, _Graph | None] = OrderedDict()

    def run(self, call: Callable[..., T], given: tuple[Any, ...]) -> T:
        kind = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else None
        # tensors of inference mode cannot be written outside of it
        form = (cast(Any, call).__name__, kind, torch.is_inference_mode_enabled(), _form(given))
        with self._lock:
            seen = form in self._kept
            graph = self._kept.get(form)
            if seen and (graph is None or graph.outdated):
                _drop(graph)
                graph = _recorded(call, given)
            self._kept[form] = graph
            self._kept.move_to_end(form)
            while len(self._kept) > KEPT:
                _drop(self._kept.popitem(last=False)[1])
            if graph is not None:
                return cast(T, graph.replay(given))
        return call(*given)


def _drop(graph: _Graph | None) -> None:
    if graph is not None:
        graph.drop()


def _recorded(call: Callable[..., Any], given: tuple[Any, ...]) -> _Graph | None:
    """A recording; None, with the reason logged, where there can be none."""
    with _recording:
        if _failed:
            return None
        graph = None
        try:
            graph = _Graph(call, given)
            graph.record(call)
        except Exception as error:
            _failed.append(graph)
            cause: BaseException = error
            while cause.__context__ is not None:  # the first error is the reason; ending the recording fails too
                cause = cause.__context__
            reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
            _log.warning("--device cuda: expected to record a CUDA graph, got: %s; goes on without, slower", reason)
            return None
        return graph


class _Graph:
    """One recording and its buffers."""

    def __init__(self, call: Callable[..., Any], given: tuple[Any, ...]) -> None:
        network = cast(Any, call).__self__
        self._weights = [*network.parameters(), *network.buffers()]
        self._places = [weight.data_ptr() for weight in self._weights]
        self._inputs = [torch.empty_like(tensor).copy_(tensor) for tensor in _tensors(given)]
        self._given = _with(given, iter(self._inputs))
        self._device = device_of(network)
        self._graph = torch.cuda.CUDAGraph()
        self._used = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._made: Any = None

    @property
    def outdated(self) -> bool:
        """Whether weights lie elsewhere than when it was recorded."""
        return [weight.data_ptr() for weight in self._weights] != self._places

    def record(self, call: Callable[..., Any]) -> None:
        """Runs the call a few times, then records it, on a stream of its own."""
        with torch.cuda.device(self._device), _no_shared_casts():
            current = torch.cuda.current_stream(self._device)
            stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
            stream.wait_stream(current)
            with torch.cuda.stream(current):  # torch leaves its own current where a recording fails
                with torch.cuda.stream(stream):
                    for _ in range(_WARM_UPS):
                        call(*self._given)
                # what other threads do meanwhile is theirs
                with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                    self._made = call(*self._given)

    def replay(self, given: tuple[Any, ...]) -> Any:
        """Results that are the caller's own."""
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(self._used)  # who came before may be on another stream
        for buffer, tensor in zip(self._inputs, _tensors(given), strict=True):
            buffer.copy_(tensor)
        self._graph.replay()
        made = _with(self._made, (tensor.clone() for tensor in _tensors(self._made)))
        self._used.record(stream)
        return made

    def drop(self) -> None:
        """Frees the memory, after the last use of it."""
        self._used.synchronize()
        self._made = None
        self._graph.reset()


@contextmanager
def _no_shared_casts() -> Iterator[None]:
    """Without autocast's store of cast weights: threads share it, so that a recording could read what another thread
    made, and frees, or leave there what is computed only when it is replayed."""
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


def _parts(value: Any) -> Sequence[Any]:
    if isinstance(value, (list, tuple)):
        return value
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    raise TypeError(f"expected tensors, None, and lists, tuples and dataclasses of them, got {type(value).__name__}")


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [] if value is None else [tensor for part in _parts(value) for tensor in _tensors(part)]


def _with(value: Any, tensors: Iterator[Tensor]) -> Any:
    """The same with other tensors in place of its own, in the order of `_tensors`."""
    if isinstance(value, Tensor):
        return next(tensors)
    if value is None:
        return None
    kind: Callable[..., Any] = type(value)
    parts = [_with(part, tensors) for part in _parts(value)]
    return kind(*parts) if is_dataclass(value) else kind(parts)


def _form(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return (tuple(value.shape), value.stride(), value.dtype, value.device)
    return None if value is None else (type(value), *map(_form, _parts(value)))
