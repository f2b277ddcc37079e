"""Every shipped checkpoint: whole, small, its card made from its evaluation, and its claims true in those figures."""

import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import polzoo
from polzoo import cards, checkpoint, model_card
from polzoo.data.options import SyntheticOptions
from polzoo.data.synthetic import Synthetic
from polzoo.evaluation.evaluate import evaluate, open_data
from polzoo.names import effective, find, follow
from polzoo.recipes import config
from polzoo.recipes.chain import _stage, stage_names

CARDS = cards.folders()


@pytest.mark.parametrize("name", CARDS)
def test_it_verifies(name):
    report = checkpoint.verify(name)
    assert report.ok and all(check.ok for check in report.checks), report.checks


@pytest.mark.parametrize("name", CARDS)
def test_the_card_is_what_its_files_say(name):
    assert (CARDS[name] / "README.md").read_text() == model_card.render(CARDS[name], name)


@pytest.mark.parametrize("name", CARDS)
def test_its_figures_are_of_these_weights(name):
    weights = effective(CARDS[name]).weights_sha256
    for result in json.loads((CARDS[name] / "eval.json").read_text())["evaluations"]:
        assert [m["sha256"] for m in result["methods"] if m["kind"] == "checkpoint"] == [weights]


@pytest.mark.parametrize("name", CARDS)
def test_its_first_pairs_give_the_same_figures_again(name):
    result = json.loads((CARDS[name] / "eval.json").read_text())["evaluations"][0]
    again = evaluate([name], open_data(result["data"]["spec"])[0], limit=2)["methods"][0]["each"]
    for label, figures in again.items():
        assert figures == pytest.approx(result["methods"][0]["each"][label][:2], rel=0.02, abs=0.02)


@pytest.mark.parametrize("name", CARDS)
def test_it_is_small(name):
    assert sum(f.stat().st_size for f in CARDS[name].iterdir()) <= 4 * 2**20


def test_all_cards_together_stay_light():
    assert sum(f.stat().st_size for folder in CARDS.values() for f in folder.iterdir()) <= 20 * 2**20


def test_nano_predicts_scenes_reserved_for_demos_better_than_a_constant():
    """Over scenes that no training may draw: under the error of guessing each scene's median."""
    scenes = Synthetic(SyntheticOptions(seed=10_000_000, length=8))
    model = polzoo.load("polstereo-nano", fuse=True)
    found, guessed = [], []
    for sample in (scenes[i] for i in range(len(scenes))):
        assert sample.disparity is not None
        truth = sample.disparity[0]
        views = (view.transpose(1, 2, 0) for view in (sample.left, sample.right))
        found.append(np.abs(model.predict(*views, polarity=sample.polarity) - truth).mean())
        guessed.append(np.abs(truth - np.median(truth)).mean())
    assert sum(found) < 0.8 * sum(guessed)


def test_the_readme_quotes_the_evaluation():
    """Each figure of the README's result table stands in nano's eval.json, to the digits shown."""
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    result = json.loads((CARDS["polstereo-nano"] / "eval.json").read_text())["evaluations"][0]
    rows = [line.split("|")[1:-1] for line in readme.split("<!-- figures -->")[1].splitlines() if line.startswith("| ")]
    regions = {"all pixels": "all", "glass": "glass", "textured, visible, off glass": "textured-visible-off-glass"}
    quoted = 0
    for cells in rows:
        region = regions.get(cells[0].strip())
        if region is None:
            continue
        figures = [m["regions"][region][label]["pixels"] for m in result["methods"] for label in ("epe", "bad-3")]
        assert [cell.strip().strip("*") for cell in cells[1:]] == [
            f"{value:.2f}" if i % 2 == 0 else f"{value:.1f}" for i, value in enumerate(figures)
        ]
        quoted += 1
    assert quoted == len(regions)


def test_the_readme_quotes_what_pruning_costs():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name, said in (
        ("pipstereo", "`{}` has {:.2f} px EPE and {:.1f} % bad-3"),
        ("pipstereo-i32", "`{}` {:.2f} px and {:.1f} %"),
    ):
        region = json.loads((CARDS[name] / "eval.json").read_text())["evaluations"][0]["methods"][0]["regions"]["all"]
        assert said.format(name, region["epe"]["pixels"], region["bad-3"]["pixels"]) in readme


RECIPES = {
    name: tomllib.loads((folder / "recipe.toml").read_text())
    for name, folder in CARDS.items()
    if (folder / "recipe.toml").exists()  # an alias has none
}
STAGES = {name: recipe for name, recipe in RECIPES.items() if "teacher" in recipe}
CHAINS = {name: "raft-pruned" if name.startswith("raft") else "pipstereo" for name in STAGES}


@pytest.mark.parametrize("name", STAGES)
def test_a_shipped_recipe_makes_this_stage_again(name):
    """The chain's run at this stage is the one that was stored with it, key by key."""
    stored = STAGES[name]
    chain = config.read(config.find(CHAINS[name]))
    names = dict(zip(stage_names(chain), chain.stages, strict=True))
    own = next(n for n, k in names.items() if k == stored["iterations"])
    assert own == name or (own, name) == ("raft", "raft-p5")
    made = tomllib.loads(config.write(_stage(chain, name, stored["iterations"], stored["teacher"])))
    assert {**made, "teacher_sha256": stored["teacher_sha256"]} == stored


@pytest.mark.parametrize("name", STAGES)
def test_the_command_that_trains_a_stage_again_finds_its_teacher(name):
    (command,) = re.findall(r"^\* again: `polzoo train (\S+)`", (CARDS[name] / "README.md").read_text(), re.MULTILINE)
    if command == "recipe.toml":
        assert find(STAGES[name]["teacher"]).is_dir()
    else:
        assert command == CHAINS[name] and find(config.read(config.find(command)).model).is_dir()


@pytest.mark.parametrize("name", CARDS)
def test_its_recipe_names_no_folder_of_the_machine_it_was_trained_on(name):
    recipe = (follow(CARDS[name])[0] / "recipe.toml").read_text()
    assert "dir:" not in recipe and "/" not in recipe
