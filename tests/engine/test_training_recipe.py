"""Recipes: every mistake is told with file, key, expected and got; the shipped ones are whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stpn.engine.network import NetworkConfig
from stpn.engine.training.color_task import ColorOptions, make
from stpn.engine.training.data import DataFolders
from stpn.engine.training.recipe import (
    OptimizerChoice,
    RecipeError,
    find_recipe,
    load_recipe,
    parse_recipe,
    shipped_recipes,
)
from stpn.engine.training.schedule import average_weight, learning_rate

GOOD = """
task = "color"
[data]
sources = ["clips/*.mp4"]
[[stage]]
name = "vd"
steps = 10
batch = 2
crop = 32
options = { pairs = "clips" }
"""


def test_defaults_and_equality() -> None:
    recipe = parse_recipe(GOOD, "good.toml")
    assert (recipe.seed, recipe.precision, recipe.optimizer, recipe.steps) == (1, "bf16", OptimizerChoice(), 10)
    assert recipe == parse_recipe("# a comment\n" + GOOD, "other.toml")
    assert recipe.difference(parse_recipe(GOOD.replace("batch = 2", "batch = 3"), "other.toml")).startswith("stage: ")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('task = "color"', "", "bad.toml: task: expected a string, got nothing; add it"),
        ('"color"', "3", "bad.toml: task: expected a string, got 3"),
        ("[data]", "sed = 1\n[data]", "bad.toml: sed: expected one of .*, got 'sed'; did you mean 'seed'?"),
        ("[data]", "seed = true\n[data]", "bad.toml: seed: expected a whole number, got True"),
        ("[data]", "seed = -1\n[data]", "bad.toml: seed: expected 0 or more, got -1"),
        ("[data]", 'precision = "fp16"\n[data]', "bad.toml: precision: expected one of 'bf16', 'fp32', got 'fp16'"),
        ("[data]", "average_decay = 1\n[data]", "bad.toml: average_decay: expected 0 or more, below 1, got 1.0"),
        ('["clips/*.mp4"]', '"clips"', "bad.toml: data: sources: expected a list, each a string, got 'clips'"),
        ('["clips/*.mp4"]', '["a", 1]', r"bad.toml: data: sources\[1\]: expected a string, got 1"),
        ('["clips/*.mp4"]', "[]", "bad.toml: data: sources: expected one glob or more, got 'none'"),
        ("[data]", "[optimizer]\nlearning_rate = 0\n[data]", "optimizer: learning_rate: expected more than 0, got 0.0"),
        ("[data]", '[optimizer]\nname = "adam"\n[data]', "optimizer: name: expected one of 'adamw', 'sgd', got 'adam'"),
        ("steps = 10", "steps = 0", "bad.toml: stage 'vd': steps: expected 1 or more, got 0"),
        ("steps = 10", "steps = 1.5", r"bad.toml: stage\[0\]: steps: expected a whole number, got 1.5"),
        ("batch = 2", "batches = 2", r"bad.toml: stage\[0\]: batches: expected one of .*; did you mean 'batch'"),
        ("[data]", "seed = \n[data]", "bad.toml: expected TOML, got: Invalid value"),
    ],
)
def test_mistakes_are_told(old: str, new: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(GOOD.replace(old, new, 1), "bad.toml")


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("hidden = 8", "bad.toml: network: hidden: expected one of "),
        ("guidance_widths = [8]", "bad.toml: network: expected sizes that fit together, got: out_level: expected 1..1"),
        ("guide_channels = 3", "bad.toml: network: expected property_channels 2 and guide_channels 1, got 2 and 3"),
    ],
)
def test_sizes_that_cannot_be_are_told(tmp_path: Path, network: str, message: str) -> None:
    recipe = parse_recipe(GOOD.replace("[data]", f"[network]\n{network}\n[data]"), "bad.toml")
    with pytest.raises(RecipeError, match=message):
        make(recipe, DataFolders(tmp_path, tmp_path, recipe.data))


def test_two_stages_of_one_name_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"stage: name: expected each name once, got \['vd', 'vd'\]"):
        parse_recipe(GOOD + GOOD[GOOD.index("[[stage]]") :], "bad.toml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('pairs = "films"', "bad.toml: stage 'vd': options: pairs: expected one of 'photos', 'clips', got 'films'"),
        ('pairs = "clips", relativ = true', "options: relativ: .*; did you mean 'relative'?"),
        ('pairs = "clips", gap_power = 0', "options: gap_power: expected more than 0, got 0.0"),
        ('pairs = "clips", jpeg = 2', "options: jpeg: expected 0..1, got 2.0"),
    ],
)
def test_options_are_checked_before_anything_is_decoded(tmp_path: Path, options: str, message: str) -> None:
    recipe = parse_recipe(GOOD.replace('pairs = "clips"', options), "bad.toml")
    with pytest.raises(RecipeError, match=message):
        make(recipe, DataFolders(tmp_path / "none", tmp_path / "cache", recipe.data))
    assert not (tmp_path / "cache").exists()


def test_files_that_are_not_there_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"colour: expected a recipe file or one of ablation_btpn_btpn, .*color"):
        find_recipe("colour")
    with pytest.raises(RecipeError, match=r"none\.toml: expected a recipe \(TOML\), got: "):
        load_recipe(tmp_path / "none.toml")
    (tmp_path / "mine.toml").write_text(GOOD)
    assert load_recipe(find_recipe(str(tmp_path / "mine.toml"))) == parse_recipe(GOOD, "good")


COLOR_RECIPES = [name for name in shipped_recipes() if load_recipe(shipped_recipes()[name]).task == "color"]


@pytest.mark.parametrize("name", COLOR_RECIPES)
def test_shipped_recipes_are_whole_and_keep_out_what_is_for_measuring(name: str) -> None:
    recipe = load_recipe(find_recipe(name))
    assert recipe.text.startswith("# "), "its first line is what --list says"
    assert recipe.data.exclude == ("clips/bikes_a.mp4", "clips/bikes_c.mp4")
    assert recipe.data.exclude_lists == ("../yardstick/validation.json",)
    assert recipe.read_network(NetworkConfig) == NetworkConfig()
    for stage in recipe.stages:
        options = stage.read_options(ColorOptions)
        assert options.pairs == ("photos" if stage.name == "im" else "clips")
        assert (options.switch_weight == 0) == name.split("ablation_")[-1].replace("_im", "").endswith("btpn")


def test_shipped_recipes_are_what_they_are_called() -> None:
    assert set(COLOR_RECIPES) == {
        "color",
        *(f"ablation_{n}" for n in ("btpn_im", "stpn_im", "btpn_btpn", "btpn_stpn", "stpn_stpn")),
    }
    assert [stage.name for stage in load_recipe(find_recipe("color")).stages] == ["im", "vd"], "as in the paper"
    for pair in ("btpn_btpn", "btpn_stpn", "stpn_stpn"):
        start = load_recipe(find_recipe(f"ablation_{pair}")).start
        assert start == f"ablation_{pair.split('_')[0]}_im/weights.safetensors"


def test_learning_rates() -> None:
    steps = 1000
    rates = {
        name: [
            learning_rate(OptimizerChoice(learning_rate=2, warm_up=100, schedule=name), s, steps) for s in range(steps)
        ]  # type: ignore[arg-type]
        for name in ("cosine", "linear", "constant")
    }
    for falling in rates.values():
        assert falling[:3] == pytest.approx([0.02, 0.04, 0.06])
    assert rates["cosine"][500] == pytest.approx(1)
    assert rates["linear"][750] == pytest.approx(0.5)
    assert rates["constant"][-1] == 2
    assert 0 < rates["cosine"][-1] < 1e-4
    assert learning_rate(OptimizerChoice(learning_rate=2, warm_up=0), 0, steps) == 2
    assert [average_weight(0.5, step) for step in (0, 8, 100)] == [0.1, 0.5, 0.5]


def test_validation_lists_can_be_read_as_they_are(shared: Path) -> None:
    lists = json.loads((shared / "yardstick/validation.json").read_text())
    recipe = load_recipe(find_recipe("color"))
    items = DataFolders(shared / "data", shared / "none", recipe.data).items
    sources = {item.source.relative_to(shared / "data").as_posix() for item in items}
    assert len(sources) > 20
    assert not sources & {*recipe.data.exclude, *(name for names in lists.values() for name in names)}
