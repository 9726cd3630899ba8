"""Hostile weights, recipes and JSON: an error of one line, exit code 2, and neither time nor memory is taken."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stpn.engine.backends.engine_cache import kept
from stpn.engine.network import NetworkConfig, SwitchableTPN
from stpn.engine.training.recipe import RecipeError, load_recipe, parse_recipe
from stpn.engine.weights import WeightsError, kind_of, load_aligned, load_network, save_network, shipped
from stpn.plugin.adapted_file import read_record
from stpn.plugin.hosts import placing
from stpn.plugin.request import RequestError

SMALL = {
    "property_channels": 2,
    "guide_channels": 1,
    "hidden_channels": 4,
    "halvings": 1,
    "units": 1,
    "guidance_widths": [4, 8],
}


def container(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def tensor(kind: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": kind, "shape": shape, "data_offsets": [begin, end]}


def hostile(metadata: dict[str, str] | None = None, **tensors: dict[str, object]) -> bytes:
    return container(json.dumps({"__metadata__": metadata or {}, **tensors}).encode(), bytes(64))


def of_config(config: object, **tensors: dict[str, object]) -> bytes:
    said = config if isinstance(config, str) else json.dumps(config)
    return hostile({"network": "SwitchableTPN", "config": said}, **tensors)


NOT_SAFETENSORS = {
    "nothing": b"",
    "a header that claims everything": container(b"{}", length=2**64 - 1),
    "a header longer than the file": container(b"{}", length=1000),
    "a header of 200 MiB": container(b"{}", length=200 << 20),
    "no JSON": container(b"\xff\xfe"),
    "a list": container(b"[]"),
    "deep JSON": container(b'{"a":' * 50_000),
    "a deep value": container(b'{"a":' + b"[" * 100_000),
    "numbers without end": container(b'{"a":{"dtype":"F32","shape":[' + b"9" * 10_000 + b'],"data_offsets":[0,4]}}'),
    "beyond the file": hostile(a=tensor("F32", [4], 0, 1 << 40)),
    "before the file": hostile(a=tensor("F32", [4], -16, 0)),
    "backwards": hostile(a=tensor("F32", [4], 16, 0)),
    "overlapping": hostile(a=tensor("F32", [8], 0, 32), b=tensor("F32", [12], 16, 64)),
    "with a hole": hostile(a=tensor("F32", [8], 0, 32), b=tensor("F32", [4], 48, 64)),
    "a type that lies": hostile(a=tensor("F64", [16], 0, 64)),
    "a shape that overflows": hostile(a=tensor("F32", [2**33, 2**33], 0, 64)),
    "an unknown type": hostile(a=tensor("OBJECT", [16], 0, 64)),
    "metadata that are no text": container(b'{"__metadata__":{"network":7}}'),
    "a pickle": b"\x80\x04cposix\nsystem\n(S'touch /tmp/owned'\ntR.",
}

NOT_WEIGHTS = {
    "no config": hostile({"network": "SwitchableTPN"}),
    "another network": hostile({"network": "x\n\x1b[31m" + "y" * 10_000, "config": "{}"}),
    "a config that is a list": of_config([]),
    "a deep config": of_config("[" * 100_000),
    "a config of a name nobody knows": of_config({"__class__": "os.system"}),
    "gigantic": of_config({**SMALL, "hidden_channels": 10**9}),
    "gigantic levels": of_config({**SMALL, "guidance_widths": [10**6, 10**6]}),
    "many levels": of_config({**SMALL, "guidance_widths": [4] * 10**5}),
    "halved for ever": of_config({**SMALL, "halvings": 10**12}),
    "negative": of_config({**SMALL, "units": -1}),
    "infinite": of_config('{"hidden_channels": Infinity}'),
    "too long a number": of_config('{"hidden_channels": ' + "9" * 5000 + "}"),
    "a text": of_config({**SMALL, "units": "4"}),
    "true": of_config({**SMALL, "units": True}),
    "nested": of_config({**SMALL, "guidance_widths": [[4], [8]]}),
    "no tensors": of_config(SMALL),
    "other tensors": of_config(SMALL, **{"../../x\n\x1b[31m": tensor("F32", [16], 0, 64)}),
    "as large as may be": of_config({**SMALL, "hidden_channels": 1024, "guidance_widths": [1024] * 8}),
    "many tensors": of_config(SMALL, **{f"t{index}": tensor("F32", [0], 0, 0) for index in range(5000)}),
}


@pytest.mark.parametrize("name", [*NOT_SAFETENSORS, *NOT_WEIGHTS])
def test_hostile_weights_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(NOT_SAFETENSORS.get(name) or NOT_WEIGHTS.get(name, b""))
    begin = time.monotonic()
    for load in (load_network, load_aligned):
        with pytest.raises(WeightsError) as error:
            load(path)
        assert str(error.value).isprintable()
        assert str(error.value).startswith(f"{path}: expected weights of this version in safetensors, got: ")
        assert len(str(error.value)) < 1000
    if name in NOT_SAFETENSORS:
        with pytest.raises(WeightsError):
            kind_of(path)
    with pytest.raises(RequestError) as refused:
        read_record(path)
    assert all(problem.isprintable() for problem in refused.value.problems)
    assert time.monotonic() - begin < 5


def small_weights(path: Path, **changed: Any) -> None:
    network = SwitchableTPN(NetworkConfig(**{**SMALL, "guidance_widths": (4, 8)}))
    state = {**network.state_dict(), **changed}
    save_file(state, path, {"network": "SwitchableTPN", "config": json.dumps(SMALL)})


def test_tensors_must_be_those_of_the_network(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    small_weights(path)
    assert load_network(path).config.guidance_widths == (4, 8)
    name, value = next(iter(load_network(path).state_dict().items()))
    for wrong, said in (
        (value.to(torch.int8), f"{name} of I8"),
        (value.to(torch.complex64), f"{name} of C64"),
        (value.flatten(), f"{name} of F32"),
        (torch.full_like(value, float("nan")), f"NaN or infinite numbers in {name}"),
        (torch.full_like(value, float("inf")), f"NaN or infinite numbers in {name}"),
    ):
        small_weights(path, **{name: wrong})
        with pytest.raises(WeightsError, match=f"got: {said}"):
            load_network(path)
    small_weights(path, **{"one.more": value.clone()})
    with pytest.raises(WeightsError, match=r"one called one\.more, which it has not"):
        load_network(path)


def test_weights_cut_off_anywhere_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    small_weights(path)
    whole = path.read_bytes()
    for size in {*range(40), *np.linspace(40, len(whole) - 1, 40).astype(int).tolist()}:
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match="expected weights of this version"):
            load_network(path)


def test_what_is_shipped_is_found_by_its_name_alone() -> None:
    for name in ("../weights/color", "/etc/passwd", "color/../color", "color\0", "..", ""):
        with pytest.raises(WeightsError, match="no shipped weights"):
            shipped(name)


def test_hostile_weights_end_the_command_with_code_2(studio: Any) -> None:
    studio.plate()
    studio.keys()
    path = studio.folder / "w.safetensors"
    for name in ("gigantic", "other tensors"):
        path.write_bytes(NOT_WEIGHTS[name])
        done = studio.run("--method=stpn", f"--weights={path}")
        assert done.code == 2
        (line,) = done.err.splitlines()
        assert line.startswith("stpn propagate: --method stpn: ")
        assert line.isprintable()
    assert not list(studio.folder.glob("out.*"))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(WeightsError):
        load_network(path)


# ---------------------------------------------------------------- recipes

RECIPE = 'task = "color"\n[data]\nsources = ["a"]\n[[stage]]\nname = "im"\nsteps = 1\nbatch = 1\ncrop = 32\n'

RECIPES = {
    "a long line": "a = " + "[" * 60_000,
    "deep lists": "a = " + "[" * 4000,
    "deep tables": "a = " + "{a=" * 1200,
    "deep keys": "a." * 30_000 + "b = 1",
    "many deep keys": "\n".join(f"{'a.' * 2000}b{index} = 1" for index in range(15)),
    "a number without end": "seed = " + "9" * 10_000,
    "a number beyond 64 bits": RECIPE.replace("[data]", "seed = 9223372036854775808\n[data]"),
    "steps beyond everything": RECIPE.replace("steps = 1", "steps = 99999999999999999999"),
    "a rate without end": RECIPE + f"[optimizer]\nlearning_rate = 1{'0' * 400}\n",
    "no rate": RECIPE + "[optimizer]\nlearning_rate = nan\n",
    "an infinite rate": RECIPE + "[optimizer]\nlearning_rate = inf\n",
    "infinitely negative": RECIPE + "[optimizer]\nweight_decay = -inf\n",
    "an unknown key": 'task = "color"\n"\\u001b[31mred\\n" = 1\n',
    "a long unknown key": f'task = "color"\n"{"k" * 4000}" = 1\n',
    "a long value": f'task = ["{"v" * 4000}"]\n',
    "another type": RECIPE.replace("steps = 1", 'steps = "1"'),
    "a truth for a number": RECIPE.replace("steps = 1", "steps = true"),
    "a date": RECIPE.replace("steps = 1", "steps = 1979-05-27"),
    "a list for a table": "data = [1]\n" + RECIPE.replace("[data]\n", ""),
    "twice": RECIPE + "[data]\n",
    "the byte 0": RECIPE + "\0",
    "half a surrogate": 'task = "\\ud800"',
    "too long": RECIPE + "#\n" * (1 << 16),
    "nothing": "",
}


@pytest.mark.parametrize("name", RECIPES)
def test_hostile_recipes_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(RECIPES[name], encoding="utf-8")
    begin = time.monotonic()
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert time.monotonic() - begin < 5
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= 1000


def test_a_recipe_that_is_no_file_or_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\0")
    (tmp_path / "folder.toml").mkdir()
    for name in ("binary.toml", "folder.toml", "missing.toml", "x\n\x1b[31m.toml"):
        with pytest.raises(RecipeError) as error:
            load_recipe(tmp_path / name)
        assert str(error.value).isprintable()
    assert parse_recipe(RECIPE, "r").steps == 1


def test_a_hostile_recipe_ends_the_command_with_code_2(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(RECIPES["deep lists"])
    done = subprocess.run(
        [sys.executable, "-m", "stpn.plugin.cli", "train", str(path), "--data", str(tmp_path), "--out", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2, done
    assert len(done.stderr.splitlines()) == 1, done.stderr


# ---------------------------------------------------------------- JSON beside our files

JSONS = (
    "", "[", "null", "7", "[]", '"x"', "{}", "[[]]", '{"machine": 7}', '{"machine": {}}', "[" * 100_000,
    '{"a":' * 100_000, "9" * 10_000, "\ufeff{}", '{"machine": {"gpu": 1, "capability": 2, "driver": 3, "tensorrt": 4}}',
    '{"network": [1], "weights_name": 1, "weights": 1, "graph": 1, "shape": {}, "precision": 1, "plugin": 1, '
    '"machine": {"gpu": 1, "capability": 2, "driver": 3, "tensorrt": 4}}',
)  # fmt: skip


@pytest.mark.parametrize("said", JSONS, ids=lambda said: said[:12])
def test_records_of_engines_and_of_hosts_may_hold_anything(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.engine").touch()
    (tmp_path / "x.json").write_text(said, encoding="utf-8")
    (one,) = kept(tmp_path)
    assert one.key is None
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    (tmp_path / "stpn-hosts.json").write_text(said, encoding="utf-8")
    assert placing.noted() == []


@pytest.mark.parametrize(
    "said",
    [
        *JSONS,
        '{"base": 1, "plate": 1, "keys": {"1": 2}, "options": {}, "steps": 1e999, "held_aside": {}, "verdict": 1}',
    ],
    ids=lambda said: said[:12],
)
def test_what_adapted_weights_say_of_themselves_may_be_anything(said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    network = SwitchableTPN(NetworkConfig(**{**SMALL, "guidance_widths": (4, 8)}))
    save_network(path, network, {"adaptation": said})
    with pytest.raises(RequestError, match="expected weights that --adapt wrote"):
        read_record(path)
