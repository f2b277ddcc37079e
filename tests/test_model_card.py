"""The card: what the Hub reads in it, what a person runs from it, and whose words are whose."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

import polzoo
from polzoo import cards, checkpoint, model_card
from polzoo.cli.app import main
from polzoo.config import Base, read_alias, read_config, write_config
from polzoo.errors import PolzooError
from polzoo.settings import InputBlock, Settings

NANO = cards.folders()["polstereo-nano"]
DEMO = Path(polzoo.__file__).parent / "assets" / "demo"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(NANO, tmp_path / "nano")


@pytest.mark.parametrize("name", cards.folders())
def test_the_hub_reads_its_front_matter(name):
    folder = cards.folders()[name]
    card, results = ModelCard(model_card.render(folder, name)), model_card.evaluations(folder)
    found: Any = card.data
    data = found.to_dict()
    assert data["library_name"] == "polzoo" and data["pipeline_tag"] == "depth-estimation" and data["license"]
    measured = {(one.dataset_name, one.metric_name): one.metric_value for one in found.eval_results or ()}
    for result in results:
        title = model_card._title(result).replace("`", "")
        value = result["methods"][0]["regions"]["all"]["epe"][model_card._averaging(result)]
        assert measured[title, f"epe [{result['metrics']['epe']['unit']}], all"] == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize("name", cards.folders())
def test_its_snippet_runs(name, tmp_path, monkeypatch):
    for side in ("left", "right"):
        shutil.copy(DEMO / f"{side}.png", tmp_path)
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", (cards.folders()[name] / "README.md").read_text(), re.DOTALL)
    found = {}
    exec(snippet, found)
    assert found["disparity"].dtype == "float32" and found["disparity"].ndim == 2


@pytest.mark.parametrize("name", cards.folders())
def test_every_figure_has_a_command_that_parses(name):
    card = (cards.folders()[name] / "README.md").read_text()
    commands = [shlex.split(line) for line in re.findall(r"```bash\n(.*?)\n```", card, re.DOTALL)]
    assert [words[:2] for words in commands[1:]] == [["polzoo", "eval"]] * len(
        model_card.evaluations(cards.folders()[name])
    )
    for _, *words in commands:
        assert main([words[0], "--help"]) == 0


@pytest.mark.parametrize("name", cards.folders())
def test_what_has_to_be_installed_is_said(name):
    """The backbone whose spec needs timm says so before the snippet that would fail without it."""
    use = (cards.folders()[name] / "README.md").read_text().partition("## Use")[2].partition("```")[0]
    said = "`repvit` needs more than polzoo alone: `pip install 'polzoo[timm]'`."
    assert use.split("\n")[2:-1] == ([said, ""] if polzoo.load(name).spec.backbone.name == "repvit" else [])


def test_every_figure_stands_in_the_evaluation():
    card = model_card.render(NANO, "polstereo-nano").partition("## Results")[2]
    for result in model_card.evaluations(NANO):
        kind = model_card._averaging(result)
        for region in result["regions"]:
            figures = [m["regions"][region][label][kind] for m in result["methods"] for label in ("epe", "bad-3")]
            shown = " | ".join("–" if value is None else f"{value:.2f}" for value in figures)
            assert f"| {region} | {shown} |" in card


def test_where_it_is_behind_is_said():
    limits = model_card.render(NANO, "x").partition("## Intended use and limits")[2].partition("## Training")[0]
    said = re.findall(r"\* On (.*) it is behind by epe: (.*)\.\n", limits)
    for result in model_card.evaluations(NANO):
        kind, (own, other) = model_card._averaging(result), (m["regions"] for m in result["methods"])
        figures = {name: (own[name]["epe"][kind], other[name]["epe"][kind]) for name in result["regions"]}
        behind = [name for name, (mine, theirs) in figures.items() if theirs < mine]
        wanted = ["all"] if "all" in behind else behind
        found = [
            part.split()[0] for title, text in said if title == model_card._title(result) for part in text.split("; ")
        ]
        assert found == wanted


def test_own_words_survive_and_a_handwritten_card_is_kept(folder, capsys):
    assert main(["card", str(folder), "--write"]) == 0
    written = (folder / "README.md").read_text()
    mine = "Thanks to my grandmother.\n\n<b>And</b> more."
    (folder / "README.md").write_text(written.replace(model_card.BEGIN, f"{model_card.BEGIN}\n{mine}"))
    for _ in range(2):
        assert main(["card", str(folder), "--write"]) == 0
    again = (folder / "README.md").read_text()
    assert model_card.own_words(folder) == mine and again.count(mine) == 1
    assert again.replace(mine, "") == written
    capsys.readouterr()
    (folder / "README.md").write_text("# All mine\n")
    assert main(["card", str(folder), "--write"]) == 2
    assert "was not made by polzoo and is kept" in capsys.readouterr().err
    assert (folder / "README.md").read_text() == "# All mine\n"


def test_without_an_evaluation_it_says_how_to_get_one(folder):
    (folder / "eval.json").unlink()
    card = model_card.render(folder, "org/mine")
    assert "Not evaluated yet: `polzoo eval org/mine" in card and "model-index" not in card
    (folder / "eval.json").write_text("[]")
    with pytest.raises(PolzooError, match=r"eval\.json is no evaluation that can be read"):
        model_card.render(folder, "org/mine")


def test_a_protocol_names_the_table_and_its_average(folder):
    found = json.loads((folder / "eval.json").read_text())
    (result, *_) = found["evaluations"]
    for method in result["methods"]:
        method["regions"]["all"]["epe"]["pairs"] = 7.77
    result["protocol"] = {"name": "synthetic-v1", "version": 1, "averaging": "pairs"}
    (folder / "eval.json").write_text(json.dumps(found))
    card = model_card.render(folder, "org/mine")
    assert "### synthetic-v1 (version 1)" in card and "averages over pairs" in card and "| all | 7.77 |" in card


def test_licence_parent_and_data_are_told(folder):
    config = read_config(folder)
    made = config.provenance.model_copy(update={"parent": "hf:org/base@v1", "data": ["sceneflow", "synthetic(seed=3)"]})
    write_config(folder, config.model_copy(update={"licence": "MIT AND Apache-2.0", "provenance": made}))
    card = model_card.render(folder, "org/mine")
    data = ModelCard(card).data.to_dict()
    assert data["license"] == "other" and data["license_name"] == "MIT AND Apache-2.0"
    assert data["base_model"] == "org/base"
    assert "`sceneflow`" in card and "the terms of its publishers apply" in card and "no outside data" in card
    assert "has only ever seen rendered scenes" not in card


TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
ALONE = {
    "recipe": ("supervised", "* how: recipe `supervised`"),
    "data": ("kitti15", "* data: `kitti15`"),
    "steps": (1500, "* how: 1,500 steps"),
    "parent": ("runs/x", "* how: from runs/x"),
    "seed": (0, "* how: seed 0"),
    "note": ("by hand", "* note: by hand"),
}


@pytest.mark.parametrize("key", ALONE)
def test_all_that_is_known_of_the_training_may_be_one_thing(key, tmp_path):
    value, said = ALONE[key]
    folder = checkpoint.save(polzoo.build(TINY), tmp_path / "one", provenance={key: value})
    assert said in (folder / "README.md").read_text()


PARENTS = {
    "hf:org/base": "org/base",
    "hf:org/base@v1": "org/base",
    "org/base@v1": "org/base",
    "runs/ckpt": None,
    "dir:runs/ckpt": None,
    "./runs/ckpt@v1": None,
    "polstereo-nano": None,
}


@pytest.mark.parametrize("name", PARENTS)
@pytest.mark.parametrize("way", ["parent", "delta", "alias"])
def test_a_base_model_is_on_the_hub(way, name, folder, tmp_path, monkeypatch):
    config = read_config(folder)
    if way == "parent":
        made = config.provenance.model_copy(update={"parent": name})
        write_config(folder, config.model_copy(update={"provenance": made}))
    elif way == "delta":
        base = Base(name=name, sha256="0" * 64, joined="0" * 64)
        write_config(folder, config.model_copy(update={"base": base}))
    else:
        target, folder = folder, checkpoint.save_alias(tmp_path / "alias", str(folder), "flashgru")
        alias = read_alias(folder)
        assert alias is not None
        write_config(folder, alias.model_copy(update={"alias": alias.alias.model_copy(update={"name": name})}))
        monkeypatch.setattr("polzoo.names.find", lambda _: target)  # as if it had been fetched
    assert ModelCard(model_card.render(folder, "x")).data.to_dict().get("base_model") == PARENTS[name]


LICENCE = {
    "MIT": {"license": "mit"},
    "BSD-3-Clause": {"license": "bsd-3-clause"},
    "GPL-3.0-only": {"license": "other", "license_name": "GPL-3.0-only"},
    "mine": {"license": "other", "license_name": "mine"},
    "": {},
}


@pytest.mark.parametrize("licence", LICENCE)
def test_a_licence_is_one_that_the_hub_lists(licence, folder):
    write_config(folder, read_config(folder).model_copy(update={"licence": licence}))
    data = ModelCard(model_card.render(folder, "x")).data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == LICENCE[licence]


def test_its_picture_has_a_command(folder, tmp_path):
    card = model_card.render(folder, str(folder))
    (command,) = re.findall(r"Drawn by `polzoo (.*)`", card)
    assert main([*shlex.split(command), "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "demo.png").is_file()
    (folder / "demo.png").unlink()
    assert "Drawn by" not in model_card.render(folder, "x")


def test_what_a_checkpoint_is_saved_with_is_this_card(tmp_path):
    settings = Settings(iterations=2, input=InputBlock(gamma="linear"))
    folder = checkpoint.save(polzoo.build(TINY, settings), tmp_path / "fresh", summary="Fresh weights")
    card = (folder / "README.md").read_text()
    assert card == model_card.render(folder, "./fresh")
    assert "Fresh weights." in card and "rectified linear RGB pair" in card and "The checkpoint does not say." in card


def test_what_leaving_pixels_out_is_worth_is_said(folder):
    config = read_config(folder).model_copy(update={"execution": None})
    write_config(folder, config)
    assert "FlashGRU" not in model_card.render(folder, "x")
    write_config(folder, config.model_copy(update={"execution": "flashgru(density=0.2)"}))
    card = model_card.render(folder, "x")
    assert "runs it by `flashgru(density=0.2)` |" in card and "does not pay" not in card
    write_config(folder, config.model_copy(update={"execution": "dense"}))
    limits = model_card.render(folder, "x").partition("## Intended use and limits")[2].partition("## Training")[0]
    assert "FlashGRU does not pay for it: no mask that was measured refines 35 % of the pixels or fewer" in limits
    assert "and costs 5 % of EPE or less." in limits
