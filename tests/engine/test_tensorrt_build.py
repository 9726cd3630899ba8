"""Building engines: what TensorRT is asked for and what is kept, on a stand-in for it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from stpn.engine.backends import engine_build
from stpn.engine.backends.engine_build import EngineError, Plan, build, make_engine
from stpn.engine.backends.engine_cache import EngineKey, Machine, find
from stpn.engine.propagation.compile import CompileError

KEY = EngineKey("SwitchableTPN", "color", "a", "b", "1x2x3", "half", "c", Machine("GPU", "8.9", "580", "10.13"))


class StandInBuilder(ModuleType):
    """Stands in for tensorrt while an engine is built.

    Attributes:
        parses, builds: whether it does.
        known: timings that it takes.
    """

    def __init__(self) -> None:
        super().__init__("tensorrt")
        outer = self
        self.parses, self.builds, self.known, self.used = True, True, b"known", b"?"
        self.flags, self.cleared = 0, ""
        self.__version__ = "10.13.2"

        class ILogger:
            Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0)

        class Config:
            def clear_flag(self, flag: str) -> None:
                outer.cleared = flag

            def create_timing_cache(self, content: bytes) -> bytes:
                return content

            def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
                assert not ignore_mismatch
                outer.used = cache
                return cache in (b"", outer.known)

            def get_timing_cache(self) -> Any:
                return SimpleNamespace(serialize=lambda: bytearray(b"measured after " + outer.used))

        class Builder:
            def __init__(self, logger: Any) -> None:
                self.logger = logger

            def create_network(self, flags: int) -> str:
                outer.flags = flags
                return "network"

            def create_builder_config(self) -> Config:
                return Config()

            def build_serialized_network(self, network: str, config: Config) -> bytearray | None:
                self.logger.log(2, "chatter")
                if not outer.builds:
                    self.logger.log(1, "no kernel for node conv_3")
                return bytearray(b"engine") if outer.builds else None

        parser = SimpleNamespace(
            parse=lambda model: outer.parses, num_errors=1, get_error=lambda index: "node propagate: no plugin"
        )
        self.ILogger, self.Builder = ILogger, Builder
        self.OnnxParser = lambda network, logger: parser
        self.BuilderFlag = SimpleNamespace(TF32="TF32")
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1, PREFER_AOT_PYTHON_PLUGINS=3)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> StandInBuilder:
    stand_in = StandInBuilder()
    monkeypatch.setitem(sys.modules, "tensorrt", stand_in)
    monkeypatch.setattr(engine_build, "register", lambda: None)
    monkeypatch.setattr(engine_build, "compile_here", lambda: b"ptx")
    return stand_in


def test_engines_are_strongly_typed_without_tf32_and_plugins_need_no_python(builder: StandInBuilder) -> None:
    assert build(b"model") == (b"engine", b"measured after ")
    assert (builder.flags, builder.cleared) == (0b1010, "TF32")


def test_timings_are_used_and_foreign_ones_are_not(builder: StandInBuilder) -> None:
    assert build(b"model", b"known")[1] == b"measured after known"
    assert build(b"model", b"of another GPU")[1] == b"measured after "


def test_a_plan_is_built_once(builder: StandInBuilder, tmp_path: Path) -> None:
    path = make_engine(Plan(b"model", KEY), tmp_path / "engines")
    assert path.read_bytes() == b"engine"
    assert find(tmp_path / "engines", KEY) == path
    assert (path.parent / KEY.timing_name).read_bytes() == b"measured after "
    builder.builds = False
    assert engine_build.engine_for(Plan(b"model", KEY), tmp_path / "engines") == path


def test_what_tensorrt_says_is_passed_on(builder: StandInBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    builder.builds = False
    with pytest.raises(EngineError, match=r"^TensorRT 10\.13\.2: cannot build the engine: no kernel for node conv_3$"):
        build(b"model")
    builder.parses = False
    with pytest.raises(EngineError, match=r"^TensorRT 10\.13\.2: cannot read the graph: node propagate: no plugin$"):
        build(b"model")

    def refuse() -> bytes:
        raise CompileError("compiling the GPU kernel for sm_89: expected nvcc")

    monkeypatch.setattr(engine_build, "compile_here", refuse)
    with pytest.raises(EngineError, match=r"^compiling the GPU kernel for sm_89: expected nvcc$"):
        build(b"model")
