"""The GPU kernels answer to the definition, run on a CPU: threads as fibers that switch at barriers, in several orders.

What only a GPU can show (speed, the driver, real concurrency) is marked `gpu`.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad

from stpn.engine.propagation import Direction, cuda, driver, normalize_gates, propagate, switch
from stpn.engine.propagation import launch as rules
from stpn.engine.propagation.compile import HEADER, SOURCE
from stpn.engine.propagation.gathering import gather
from stpn.engine.propagation.reference import propagate_one_way, propagate_reference

STAND_IN = Path(__file__).parent / "cuda_stand_in"
ORDERS = {"ascending": 0, "descending": 1, "shuffled": 2}
GUARD = 64  # values before and after every tensor: not a number, or a direction that does not exist


class StandIn:
    """Takes the place of `driver.start`; tensors come from guarded memory."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.order = 0
        self.buffers: list[Tensor] = []

    def start(self, kernel: str, launch: rules.Launch, arguments: list[driver.Argument], device: torch.device) -> None:
        sizes = (launch.grid, launch.block, launch.shared)
        status = self.library.stand_in_launch(kernel.encode(), *sizes, driver.pack(arguments), self.order)
        assert status == 0, f"{kernel}: the stand-in says {status}, see runner.cpp"

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype, shift: int = 0) -> Tensor:
        poison = float("nan") if dtype.is_floating_point else 255
        count = torch.Size(shape).numel()
        buffer = torch.full((count + 2 * GUARD,), poison, dtype=dtype)
        self.buffers.append(buffer)
        return buffer[GUARD + shift : GUARD + shift + count].view(shape)

    def guarded(self, tensor: Tensor, shift: int = 0) -> Tensor:
        return self.empty(tuple(tensor.shape), tensor.dtype, shift).copy_(tensor)

    def check_guards(self) -> None:
        for buffer in self.buffers:
            rims = torch.cat([buffer[: GUARD - 1], buffer[1 - GUARD :]])
            assert (rims.isnan() if buffer.is_floating_point() else rims == 255).all(), "written past a tensor's end"
        self.buffers.clear()


def compile_for_cpu(source: Path, out: Path, optimise: str) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("needs g++ to compile the kernels for a CPU; none is on PATH")
    options = ["-std=c++17", optimise, "-fno-strict-aliasing", "-U_FORTIFY_SOURCE", "-shared", "-fPIC", "-w"]
    command = [compiler, *options, f'-DKERNEL_FILE="{source}"', str(STAND_IN / "runner.cpp"), "-o", str(out)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return ctypes.CDLL(str(out))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return compile_for_cpu(SOURCE, tmp_path_factory.mktemp("stand_in") / "kernels.so", "-O2")


@pytest.fixture
def stand_in(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    made = StandIn(library)

    def empty_like(tensor: Tensor, *, dtype: torch.dtype | None = None, memory_format: object = None) -> Tensor:
        return made.empty(tuple(tensor.shape), dtype or tensor.dtype)

    monkeypatch.setattr(cuda, "start", made.start)
    monkeypatch.setattr(torch, "empty_like", empty_like)
    monkeypatch.setattr(Tensor, "new_empty", lambda tensor, shape: made.empty(tuple(shape), tensor.dtype))
    yield made
    made.check_guards()


def make(batch: int, channels: int, shared: bool, height: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Property map and normalised gates, float32."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=random)
    return x, normalize_gates(torch.randn(batch, 4, 1 if shared else channels, 3, height, width, generator=random))


def gather_by_definition(x: Tensor, w: Tensor) -> Tensor:
    """The loop of the docstring of `gathering`, a row at a time."""
    out = x
    for direction in Direction:
        source, gates = x, w[:, direction]
        if direction.horizontal:
            source, gates = source.transpose(-1, -2), gates.transpose(-1, -2)
        if direction.reverse:
            source, gates = source.flip(-2), gates.flip(-2)
        columns, leading = source.unbind(-2), gates.unbind(-2)
        rows = [torch.zeros_like(columns[0])]
        for i in range(1, len(columns)):
            held = pad(rows[-1] + columns[i - 1], (1, 1))
            near = torch.stack([held[..., j : j + source.shape[-1]] for j in range(3)], dim=2)
            rows.append((leading[i][:, None] * near).sum(dim=2))
        arrived = torch.stack(rows, dim=-2)
        if direction.reverse:
            arrived = arrived.flip(-2)
        out = out + (arrived.transpose(-1, -2) if direction.horizontal else arrived)
    return out


def same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


def close(found: Tensor, expected: Tensor, what: str) -> None:
    scale = max(1.0, float(expected.abs().max()))
    error = (found.double() - expected).abs().max()
    assert error <= 1e-5 * scale, f"{what}: off by {float(error):.2e} where values reach {scale:.1f}"


def check_propagate(stand_in: StandIn, x: Tensor, gates: Tensor, switched: bool, orders: list[int], shift: int) -> None:
    """Values and gradients against the definition in float64, and the same bits in every order of the threads."""
    long_x, long_gates = (t.double().requires_grad_() for t in (x, gates))
    used = switch(long_gates) if switched else long_gates
    ways = torch.stack([propagate_one_way(long_x, used, d) for d in Direction])
    up = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    x, gates, up = (stand_in.guarded(t, shift) for t in (x, gates, up))
    first: tuple[Tensor, ...] | None = None
    for stand_in.order in orders:
        with torch.inference_mode():
            plain = cuda.propagate_cuda(x, gates, switched)
        out, chosen = cuda._propagated(x, gates, switched)
        assert same_bits(out, plain)
        grads = cuda._propagated_back(x, gates, chosen, up, switched)
        if first is not None:
            assert all(same_bits(a, b) for a, b in zip(first, (out, chosen, *grads), strict=True)), "a race"
            continue
        first = (out, chosen, *grads)
        close(out, ways.detach().amax(dim=0), "out")
        # in float32 the larger of two nearly equal may be the other one, so the gradient follows the kernel's choice
        picked = ways.gather(0, chosen.long()[None])[0]
        close(out, picked.detach(), "the chosen direction")
        wanted = torch.autograd.grad(picked, (long_x, long_gates), up.double(), materialize_grads=True)
        for found, expected, what in zip(grads, wanted, ("grad of x", "grad of gates"), strict=True):
            close(found, expected, what)
    stand_in.check_guards()


def check_gather(stand_in: StandIn, x: Tensor, gates: Tensor, orders: list[int], shift: int) -> None:
    gates = gates.abs()
    long_x, long_gates = (t.double().requires_grad_() for t in (x, gates[:, :, 0]))
    result = gather_by_definition(long_x, long_gates)
    up = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad(result, (long_x, long_gates), up.double(), materialize_grads=True)
    x, gates, up = (stand_in.guarded(t, shift) for t in (x, gates, up))
    first: tuple[Tensor, ...] | None = None
    for stand_in.order in orders:
        with torch.inference_mode():
            out = cuda.gather_cuda(x, gates[:, :, 0])
        grad_x, grad_gates = cuda._gathered_back(x, gates, up)
        if first is not None:
            assert all(same_bits(a, b) for a, b in zip(first, (out, grad_x, grad_gates), strict=True)), "a race"
            continue
        first = (out, grad_x, grad_gates)
        close(out, result.detach(), "out")
        close(grad_x, wanted[0], "grad of x")
        close(grad_gates[:, :, 0], wanted[1], "grad of gates")
    stand_in.check_guards()


def check_half(stand_in: StandIn, x: Tensor, gates: Tensor, switched: bool, orders: list[int], shift: int) -> None:
    """Half computes what float32 computes from the same values: `propagate` to the bit, once rounded."""
    x, gates = (stand_in.guarded(t.half(), shift) for t in (x, gates))
    stand_in.order = orders[-1]
    with torch.inference_mode():
        wanted = cuda.propagate_cuda(x.float(), gates.float(), switched)
        assert same_bits(cuda.propagate_cuda(x, gates, switched), wanted.half())
        if gates.shape[2] == 1:
            one_set = gates[:, :, 0].abs()
            found, exact = cuda.gather_cuda(x, one_set), cuda.gather_cuda(x.float(), one_set.float())
            size = cuda.gather_cuda(x.float().abs(), one_set.float())
            assert ((found.float() - exact).abs() <= 4 * 2.0**-11 * size + 1e-6).all()
    stand_in.check_guards()


def check(
    stand_in: StandIn, case: tuple[int, int, bool, int, int], switched: bool, orders: list[int], shift: int = 0
) -> None:
    x, gates = make(*case)
    check_propagate(stand_in, x, gates, switched, orders, shift)
    if case[2]:
        check_gather(stand_in, x, gates, orders, shift)
    check_half(stand_in, x, gates, switched, orders, shift)


@pytest.mark.parametrize("height", range(1, 21))
def test_every_small_size(stand_in: StandIn, height: int) -> None:
    for width in range(1, 21):
        case = (1 + (height + width) % 2, 1 + width % 3, (height + width // 2) % 3 > 0, height, width)
        check(stand_in, case, switched=width % 4 == 1, orders=[width % 3])


LARGE = [
    (2, 3, True, 64, 64),
    (1, 2, False, 33, 65),
    (1, 9, True, 17, 40),
    (1, 1, True, 129, 34),
    (1, 1, False, 35, 130),
    (1, 2, True, 1, 130),
    (1, 2, True, 127, 1),
    (1, 1, True, 8, 128),
    (1, 1, False, 600, 9),  # a column longer than the largest block
    (1, 1, True, 4, 1028),
]


@pytest.mark.parametrize(
    "case", LARGE, ids=[f"B{b}-C{c}-{'shared' if s else 'each'}-{h}x{w}" for b, c, s, h, w in LARGE]
)
def test_larger_sizes_in_every_order_of_the_threads(stand_in: StandIn, case: tuple[int, int, bool, int, int]) -> None:
    check(stand_in, case, switched=case[3] % 2 == 0, orders=list(ORDERS.values()))


@pytest.mark.parametrize(("height", "width"), [(130, 130), (129, 127), (128, 130), (96, 121)])
def test_values_of_the_largest_sizes(stand_in: StandIn, height: int, width: int) -> None:
    x, gates = make(1, 1, True, height, width)
    for stand_in.order in ORDERS.values():
        with torch.inference_mode():
            close(cuda.propagate_cuda(x, gates), propagate_reference(x.double(), gates.double()), "out")


@pytest.mark.parametrize("threads", [32, 64, 256])
def test_segments_of_a_column_longer_than_the_block(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(rules, "scan_threads", lambda height, width: threads)
    for height, width in [(9, threads + 1), (threads + 8, 20), (2 * threads - 16, 5), (3, 3 * threads - 5)]:
        check(stand_in, (1, 2, True, height, width), switched=False, orders=[0, 2])


def test_tensors_that_do_not_start_at_16_bytes(stand_in: StandIn) -> None:
    check(stand_in, (1, 2, True, 12, 16), switched=True, orders=[0], shift=1)


@pytest.mark.parametrize(
    "case", [(2, 3, True, 9, 13), (1, 2, False, 40, 32), (1, 2, True, 16, 24), (1, 1, True, 70, 129)]
)
@pytest.mark.parametrize("shift", [0, 1])
def test_half_is_float32_rounded(stand_in: StandIn, case: tuple[int, int, bool, int, int], shift: int) -> None:
    x, gates = (stand_in.guarded(t.half(), shift) for t in make(*case))
    plain = propagate_reference(x.double(), switch(gates.double()))
    results = []
    for stand_in.order in ORDERS.values():
        with torch.inference_mode():
            results.append(cuda.propagate_cuda(x, gates, switched=True))
    assert all(same_bits(results[0], other) for other in results)
    assert ((results[0].double() - plain).abs() <= 2.0**-11 * plain.abs() + 1e-5).all()
    if case[2]:
        with torch.inference_mode():
            gathered = cuda.gather_cuda(x, gates.abs()[:, :, 0])
        exact, size = (gather_by_definition(t, gates.double().abs()[:, :, 0]) for t in (x.double(), x.double().abs()))
        assert ((gathered.double() - exact).abs() <= 4 * 2.0**-11 * size + 1e-5).all()


def test_ties_go_to_the_first_direction(stand_in: StandIn) -> None:
    x, gates = make(1, 2, True, 6, 8)
    gates[:, :2] = 0
    gates[:, 2:] = 0
    out, chosen = cuda._propagated(x, gates, False)
    assert torch.equal(out, x)
    assert (chosen == 0).all()
    x[0, 0, 3, 3] = float("nan")
    out, chosen = cuda._propagated(x, gates, False)
    assert out[0, 0, 3, 3].isnan()
    assert chosen[0, 0, 3, 3] == 0
    reference = propagate_reference(x, gates)
    assert torch.equal(out.isnan(), reference.isnan())


def test_gradients_of_ties_are_those_of_the_definition(stand_in: StandIn) -> None:
    x, gates = make(2, 3, True, 5, 1)  # of one column RIGHT and LEFT are equal everywhere
    up = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    out, chosen = cuda._propagated(x, gates, False)
    found = cuda._propagated_back(x, gates, chosen, up, False)
    long_x, long_gates = (t.double().requires_grad_() for t in (x, gates))
    reference = propagate_reference(long_x, long_gates)
    close(out, reference.detach(), "out")
    for mine, theirs in zip(found, torch.autograd.grad(reference, (long_x, long_gates), up.double()), strict=True):
        close(mine, theirs, "gradient")


def test_a_constant_map_stays_constant_to_the_last_bit(stand_in: StandIn) -> None:
    _, gates = make(1, 2, True, 20, 25)
    x = torch.full((1, 2, 20, 25), 0.3)
    with torch.inference_mode():
        assert torch.equal(cuda.propagate_cuda(x, gates), x)


def test_torch_accepts_the_operators_and_their_gradients(library: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of a training step through torch, on the CPU for once."""
    monkeypatch.setattr(cuda, "start", StandIn(library).start)
    for operator, function in (
        (cuda._propagate, cuda._propagated),
        (cuda._propagate_back, cuda._propagated_back),
        (cuda._gather, cuda._gathered),
        (cuda._gather_back, cuda._gathered_back),
        (cuda._join, cuda._joined),
    ):
        operator.register_kernel("cpu", function)
    x, gates = (t.requires_grad_() for t in make(2, 3, True, 4, 5))
    torch.library.opcheck(torch.ops.stpn.propagate_cuda.default, (x, gates, True))
    torch.library.opcheck(torch.ops.stpn.gather_cuda.default, (x, gates))
    up = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    for out, reference in (
        (cuda.propagate_cuda(x, gates, switched=True), propagate_reference(x, switch(gates))),
        (cuda.gather_cuda(x, gates[:, :, 0]), gather_by_definition(x, gates[:, :, 0])),
    ):
        torch.testing.assert_close(out, reference, rtol=1e-5, atol=1e-5)
        wanted = torch.autograd.grad(reference, (x, gates), up)
        for found, expected in zip(torch.autograd.grad(out, (x, gates), up), wanted, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    half = cuda.propagate_cuda(x.half(), gates.half())
    assert half.dtype == torch.float16
    assert all(g.isfinite().all() for g in torch.autograd.grad(half.sum(), (x, gates)))


def test_input_that_is_not_contiguous(stand_in: StandIn) -> None:
    x, gates = make(1, 2, True, 8, 12)
    with torch.inference_mode():
        plain = cuda.propagate_cuda(x[..., ::2].contiguous(), gates[..., ::2].contiguous())
        assert torch.equal(cuda.propagate_cuda(x[..., ::2], gates[..., ::2]), plain)


BARRIERS = {  # what a barrier follows, or what goes with it
    "of a step": "          from_above[me + 1] = held;\n          __syncthreads();\n",
    "of a segment": "      if (segments > 1) __syncthreads();",
    "before a tile is read": "  __syncwarp();\n  const int row",
    "before a tile is used again": "kSteps - 1 - j : j)];\n  __syncwarp();",
    "before results are read": "] = value[j];\n      __syncwarp();",
    "of a direction": "  __syncthreads();  // the next direction",
}


@pytest.mark.parametrize("text", BARRIERS.values(), ids=BARRIERS)
def test_a_missing_barrier_would_be_seen(tmp_path: Path, stand_in: StandIn, text: str) -> None:
    """Without one of its barriers the kernel gives another result in some order: the tests above can see races."""
    header = HEADER.read_text()
    assert header.count(text) == 1
    without = header.replace(text, text.replace("__syncthreads()", "").replace("__syncwarp()", ""))
    (tmp_path / HEADER.name).write_text(without)
    broken = compile_for_cpu(Path(shutil.copy(SOURCE, tmp_path)), tmp_path / "broken.so", "-O0")
    x, gates = make(1, 1, True, 70, 48)
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "scan_threads", lambda height, width: 64)
        right = cuda.propagate_cuda(x, gates)
        stand_in.library = broken
        results = []
        for stand_in.order in ORDERS.values():
            results.append(cuda.propagate_cuda(x, gates))
    assert not all(same_bits(right, result) for result in results)


@pytest.mark.gpu
@pytest.mark.parametrize("case", [*LARGE, (4, 32, True, 64, 64), (2, 32, True, 256, 256), (1, 3, True, 540, 960)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_on_a_gpu_as_on_the_cpu(case: tuple[int, int, bool, int, int], dtype: torch.dtype) -> None:
    x, gates = (t.to(dtype).float() for t in make(*case))
    room = 2e-5 if dtype == torch.float32 else 2e-3
    here = [t.clone().requires_grad_() for t in (x, gates)]
    there = [t.to("cuda", dtype).requires_grad_() for t in (x, gates)]
    expected, found = propagate(*here), cuda.propagate_cuda(*there)
    torch.testing.assert_close(found.cpu().float(), expected, rtol=room, atol=room)
    if dtype == torch.float32:
        up = torch.randn(x.shape)
        wanted = torch.autograd.grad(expected, here, up)
        got = torch.autograd.grad(found, there, up.cuda())
        for mine, theirs in zip(got, wanted, strict=True):
            assert (mine.cpu() - theirs).abs().mean() <= 1e-4  # of near ties some go the other way
        again = torch.autograd.grad(cuda.propagate_cuda(*there), there, up.cuda())
        assert all(same_bits(a.cpu(), b.cpu()) for a, b in zip(got, again, strict=True))
    if case[2]:
        sums = [x.abs(), gates.abs()[:, :, 0].contiguous()]
        with torch.inference_mode():
            sum_here, sum_there = gather(*sums), cuda.gather_cuda(*(t.to("cuda", dtype) for t in sums))
        torch.testing.assert_close(sum_there.cpu().float(), sum_here, rtol=5 * room, atol=room)
