"""What all tests share: the markers `gpu` and `slow`, and the folder of data beside the repository."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import hypothesis
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# The first call of a numba kernel compiles it, which no deadline per example allows for.
hypothesis.settings.register_profile("stpn", deadline=None)
hypothesis.settings.load_profile("stpn")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --run-slow."""
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow too (minutes)")


@cache
def missing_gpu() -> str:
    """Why tests cannot use a GPU; empty when they can. Asked only when a test needs one, because it imports torch."""
    try:
        import torch
    except ImportError as error:
        return f"torch cannot be imported ({error})"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return "" if torch.cuda.is_available() else f"torch {torch.__version__} finds no NVIDIA GPU"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot or should not run here, always with the reason."""
    if item.get_closest_marker("slow") and not item.config.getoption("--run-slow"):
        pytest.skip("takes minutes; run with --run-slow")
    if item.get_closest_marker("gpu") and missing_gpu():
        if os.environ.get("STPN_REQUIRE_GPU") == "1":
            pytest.fail(f"STPN_REQUIRE_GPU=1 asks for a GPU, but {missing_gpu()}", pytrace=False)
        pytest.skip(f"needs an NVIDIA GPU: {missing_gpu()}")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of measuring data: STPN_SHARED, or `shared` beside the repository. Skips where there is none."""
    folder = Path(os.environ.get("STPN_SHARED") or REPOSITORY.parent / "shared").resolve()
    if not (folder / "data").is_dir():
        pytest.skip(f"needs the measuring data: {folder} has no folder data; set STPN_SHARED to where it is")
    return folder
