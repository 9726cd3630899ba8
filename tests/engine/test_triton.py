"""The propagation in Triton that ours is compared with: right under Triton's interpreter on a CPU, and it compiles."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from stpn.engine.evaluation.speed import WrongError, in_triton, operator
from stpn.engine.propagation import normalize_gates
from stpn.engine.propagation.reference import propagate_reference

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="needs the package triton, which torch for CUDA brings: pip install triton"
)

# in a process of its own: the interpreter is chosen when triton is imported
INTERPRETED = """
import torch
from stpn.engine.evaluation.triton_propagation import propagate_triton
from stpn.engine.propagation import normalize_gates
from stpn.engine.propagation.reference import propagate_reference
made = torch.Generator().manual_seed(0)
for b, c, g, h, w in [(1, 1, 1, 1, 1), (2, 3, 1, 5, 7), (1, 2, 2, 33, 18), (1, 2, 1, 1, 9), (2, 1, 1, 20, 1)]:
    for kind, room in [(torch.float32, 1e-6), (torch.float16, 4e-3)]:
        x = torch.randn(b, c, h, w, generator=made).to(kind)
        gates = normalize_gates(torch.randn(b, 4, g, 3, h, w, generator=made)).to(kind)
        # as convolutions of a GPU leave it
        got = propagate_triton(x.contiguous(memory_format=torch.channels_last), gates)
        assert (got.dtype, got.is_contiguous()) == (kind, True)
        torch.testing.assert_close(got.float(), propagate_reference(x.float(), gates.float()), rtol=room, atol=room)
print("right")
"""

COMPILED = """
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from stpn.engine.evaluation.triton_propagation import _one_way
numbers = ("channels", "sets", "direction", "size", "along", "across", "first", "to_next", "to_side")
for kind, join, architecture in [("*fp32", True, 80), ("*fp16", False, 90), ("*fp16", True, 120)]:
    types = {**dict.fromkeys(("x", "w", "out"), kind), **dict.fromkeys(numbers, "i32")}
    source = ASTSource(_one_way, {**types, "BLOCK": "constexpr", "JOIN": "constexpr"}, {"BLOCK": 256, "JOIN": join})
    made = compile(source, target=GPUTarget("cuda", architecture, 32), options={"num_warps": 2})
    assert made.asm["cubin"][:4] == bytes([127]) + b"ELF"
print("right")
"""


def run(program: str, folder: Path, **variables: str) -> None:
    where = {**os.environ, "TRITON_CACHE_DIR": str(folder), **variables}
    done = subprocess.run([sys.executable, "-c", program], env=where, capture_output=True, text=True, check=False)
    assert done.stdout == "right\n", done.stderr


@needs_triton
def test_interpreted_it_is_the_definition(tmp_path: Path) -> None:
    run(INTERPRETED, tmp_path, TRITON_INTERPRET="1")


@needs_triton
def test_it_compiles_without_a_gpu(tmp_path: Path) -> None:
    run(COMPILED, tmp_path, TRITON_INTERPRET="0")


def test_without_triton_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "stpn.engine.evaluation.triton_propagation", raising=False)
    with pytest.raises(ImportError, match="triton"):
        in_triton()


@pytest.mark.gpu
@needs_triton
@pytest.mark.parametrize("kind", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 65, 130), (2, 32, 64, 64), (1, 2, 700, 33)])
def test_on_a_gpu_it_is_the_definition(shape: tuple[int, int, int, int], kind: torch.dtype) -> None:
    batch, _, height, width = shape
    x = torch.randn(shape, device="cuda").to(kind)
    gates = normalize_gates(torch.randn(batch, 4, 1, 3, height, width, device="cuda")).to(kind)
    room = 2e-5 if kind == torch.float32 else 4e-3
    expected = propagate_reference(x.float(), gates.float())
    torch.testing.assert_close(in_triton()(x, gates).float(), expected, rtol=room, atol=room)


@pytest.mark.gpu
@needs_triton
def test_it_is_timed_beside_ours_and_not_when_it_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from stpn.engine.evaluation import speed

    times, _ = operator((2, 3, 17, 33), torch.float16, "cuda", 2)
    assert len(times["triton"]) == len(times["propagate"]) == 2
    monkeypatch.setattr(speed, "in_triton", lambda: lambda x, gates: x)
    with pytest.raises(WrongError, match=r"^triton: expected the definition's values to 0\.01"):
        operator((2, 3, 17, 33), torch.float16, "cuda", 2)
