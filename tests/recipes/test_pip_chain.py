"""Pruning as runs of the engine: teachers, single stages, and the chain from a model down to one iteration."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

import polzoo
from polzoo import checkpoint
from polzoo.cli.app import main
from polzoo.config import WEIGHTS, read_config
from polzoo.data.formats import write_image
from polzoo.data.options import SyntheticOptions
from polzoo.data.synthetic import Synthetic
from polzoo.errors import PolzooError
from polzoo.recipes import config
from polzoo.recipes.chain import prune, stage_names
from polzoo.recipes.engine import train
from polzoo.settings import Settings

LITE = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=8,corr_levels=2,corr_radius=2)"
SPEC = f"{LITE}+v2c(hidden=8,gate_hidden=4)"
DATA = "synthetic(seed=3, length=12, height=32, width=64, max_disparity=12)"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with the model ``x-i4``: 4 iterations, random weights."""
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("models")
    model = polzoo.build(SPEC, Settings(iterations=4, schedule_steps=4, alpha_cap=0.6))
    checkpoint.save(model, made / "x-i4", dtype="float16", summary="a model")
    return made


@pytest.fixture
def model(root) -> str:
    return f"dir:{root / 'x-i4'}"


def recipe(**changes) -> config.TrainingConfig:
    base = {"name": "pip", "recipe": "pip", "data": DATA, "steps": 3, "batch_size": 2, "workers": 0, "log_every": 1}
    return config.TrainingConfig(**{**base, "save_every": 2, "pictures_every": 0, **changes})


def chain(model: str, **changes) -> config.TrainingConfig:
    return recipe(model=model, stages=(2, 1), **changes)


def stage(model: str, **changes) -> config.TrainingConfig:
    return recipe(model=SPEC, teacher=model, iterations=2, **changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return polzoo.load(folder).state_dict()


def equal(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def untrue(folder: Path) -> str:
    """Four pairs of pictures without truth, as a data set."""
    scenes = Synthetic(SyntheticOptions(seed=3, length=4, height=32, width=64, max_disparity=12))
    rows = ["left,right"]
    for i in range(4):
        for side in ("left", "right"):
            write_image(folder / f"{side}{i}.png", (255 * getattr(scenes[i], side)).astype("uint8").transpose(1, 2, 0))
        rows.append(f"left{i}.png,right{i}.png")
    (folder / "pairs.csv").write_text("\n".join(rows) + "\n")
    return f"folder(path='{folder / 'pairs.csv'}')"


# ----------------------------------------------------------------------------------------------------- single stages


@pytest.mark.parametrize("mixed", [False, True])
def test_pairs_without_truth_are_enough(model, tmp_path, mixed):
    data = [untrue(tmp_path), DATA] if mixed else untrue(tmp_path)
    assert train(stage(model, data=data), tmp_path / "run").is_dir()
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 3 and all(loss is not None for loss in losses)
    with pytest.raises(PolzooError, match="has no true disparity"):
        train(recipe(model=SPEC, recipe="supervised", data=untrue(tmp_path), steps=3), tmp_path / "other")


def test_a_stage_starts_from_its_teacher_and_trains_the_cell(root, model, tmp_path):
    made = train(stage(model), tmp_path / "run")
    before, after = weights(root / "x-i4"), weights(made)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"update"}
    assert all(torch.allclose(before[name], after[name], atol=5e-3) for name in before)
    about = read_config(made)
    assert (about.settings.iterations, about.settings.schedule_steps, about.settings.alpha_cap) == (2, 4, 0.6)
    assert config.read(made / "recipe.toml").teacher_sha256 == read_config(root / "x-i4").sha256[WEIGHTS]
    line = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert {"loss", "cum", "disp", "hid", "epe"} <= line.keys()


def test_a_stopped_stage_goes_on_to_the_same_weights(model, tmp_path):
    whole = train(stage(model), tmp_path / "whole")
    train(stage(model), tmp_path / "halves", stop_after=2)
    assert equal(train(stage(model), tmp_path / "halves", resume=True), whole)


def test_a_stage_is_not_resumed_with_another_teacher(root, tmp_path):
    other = shutil.copytree(root / "x-i4", tmp_path / "x-i4")
    taught = stage(f"dir:{other}")
    train(taught, tmp_path / "run", stop_after=1)
    moved = polzoo.load(other)
    next(moved.update.parameters()).data += 1
    checkpoint.save(moved, other, dtype="float16")
    with pytest.raises(PolzooError, match=r"teacher_sha256 was '[0-9a-f]{64}' and is now '[0-9a-f]{64}'"):
        train(taught, tmp_path / "run", resume=True)
    with pytest.raises(PolzooError, match=r"has weights .*…, not 0000"):
        train(taught.model_copy(update={"teacher_sha256": 64 * "0"}), tmp_path / "new")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"teacher": None}, "'pip' learns from another model: set teacher"),
        ({"recipe": "supervised"}, "'supervised' takes no teacher; leave out teacher"),
        ({"iterations": 3}, "iterations = 3 does not divide the 4 of the teacher"),
        ({"model": SPEC.replace("width=8", "width=12")}, "one backbone is needed for both"),
        ({"teacher": "nowhere"}, "unknown checkpoint 'nowhere'"),
        ({"options": {"cum_norm": "l3"}}, "cum_norm"),
        ({"options": {"truth_weight": 2}}, "truth_weight"),
    ],
)
def test_bad_stages(model, tmp_path, changes, says):
    with pytest.raises(PolzooError, match=says) as caught:
        train(stage(model).model_copy(update=changes), tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run" / "checkpoint").exists()


# ------------------------------------------------------------------------------------------------------------ chains


@pytest.fixture(scope="module")
def pruned(root, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("chain")
    assert prune(chain(f"dir:{root / 'x-i4'}"), out) == out / "x"
    return out


def test_every_stage_is_a_delta_on_the_model_that_was_pruned(root, pruned):
    base = read_config(root / "x-i4")
    for name, iterations, parent in (("x-p1", 2, "x-i4"), ("x", 1, "x-p1")):
        about = read_config(pruned / name)
        assert about.base is not None and about.base.sha256 == base.sha256[WEIGHTS]
        assert (about.settings.iterations, about.settings.schedule_steps) == (iterations, 4)
        assert (about.provenance.parent, about.provenance.steps) == (parent, 3)
        assert about.summary == f"a model; pruned to {iterations}"
        recipe = config.read(pruned / name / "recipe.toml")
        assert recipe.teacher == parent and recipe.init is not None and recipe.init.source == parent
        assert (pruned / name / WEIGHTS).stat().st_size < (root / "x-i4" / WEIGHTS).stat().st_size / 2
        report = checkpoint.verify(pruned / name)
        assert report.ok, report.checks
    assert not equal(pruned / "x-p1", pruned / "x")


def test_a_stage_learns_from_the_one_before_or_from_the_first(root, model, pruned, tmp_path):
    taught = {k: config.read(pruned / f"p{k}" / "checkpoint" / "recipe.toml") for k in (1, 2)}
    assert [taught[k].teacher for k in (1, 2)] == [model, f"dir:{pruned / 'x-p1'}"]
    prune(chain(model, options={"teacher": "first"}), tmp_path / "run")
    last = config.read(tmp_path / "run" / "p2" / "checkpoint" / "recipe.toml")
    assert last.init is not None and (last.teacher, last.init.source) == (model, f"dir:{tmp_path / 'run' / 'x-p1'}")


@pytest.mark.parametrize(
    "stops", [pytest.param((2,), marks=pytest.mark.slow), pytest.param((3,), marks=pytest.mark.slow), (1, 3, 5)]
)
def test_a_chain_that_was_stopped_goes_on_to_the_same_weights(model, pruned, tmp_path, stops):
    out = tmp_path / "run"
    for i, stop in enumerate(stops):
        prune(chain(model), out, resume=i > 0, stop_after=stop)
        assert (out / "x-p1").exists() == (stop >= 3) and not (out / "x").exists()
    prune(chain(model), out, resume=True)
    assert all(equal(out / name, pruned / name) for name in ("x-p1", "x"))


@pytest.mark.slow
def test_a_kill_between_a_run_and_its_delta_costs_nothing_even_elsewhere(model, pruned, tmp_path, monkeypatch):
    """A chain in a relative folder goes on in a copy of the working directory, as on another machine."""
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    prune(chain(model), Path("run"))
    shutil.rmtree("run/x")
    shutil.move("run", tmp_path / "there" / "run")
    monkeypatch.chdir(tmp_path / "there")
    before = Path("run/p1/checkpoint/config.json").stat().st_mtime_ns
    prune(chain(model), Path("run"), resume=True)
    assert equal(Path("run/x"), pruned / "x")
    assert Path("run/p1/checkpoint/config.json").stat().st_mtime_ns == before


def test_a_stages_card_says_how_to_train_it_again(pruned, tmp_path):
    """Its parent is not published, so the command asks for its folder; with it the run comes to the same weights."""
    card = (pruned / "x" / "README.md").read_text()
    (said,) = re.findall(
        r"^\* again: `polzoo (.*)`, with the file of this folder and DIR the path of `x-p1`", card, re.M
    )
    words = said.replace("DIR", f"dir:{pruned / 'x-p1'}").replace("recipe.toml", str(pruned / "x" / "recipe.toml"))
    assert main([*words.split(), "--out", str(tmp_path / "again")]) == 0
    assert equal(tmp_path / "again" / "checkpoint", pruned / "p2" / "checkpoint")


def test_another_chain_is_not_taken_for_this_one(model, pruned, tmp_path):
    out = shutil.copytree(pruned, tmp_path / "run")
    with pytest.raises(PolzooError, match="holds a run already: add --resume"):
        prune(chain(model), out)
    with pytest.raises(PolzooError, match=r"options\.lr was None and is now 0\.001"):
        prune(chain(model, options={"lr": 1e-3}), out, resume=True)
    prune(chain(model, workers=0, save_every=5), out, resume=True)


@pytest.mark.parametrize(
    ("name", "stages", "names"),
    [
        ("x-i4", (2, 1), ["x-p1", "x"]),
        ("x-i4", (2,), ["x"]),
        ("x", (2, 1), ["x-p1", "x-p2"]),
        ("My_Model-i4", (2, 1), ["my-model-p1", "my-model"]),
    ],
)
def test_names_of_stages(root, tmp_path, name, stages, names):
    copy = shutil.copytree(root / "x-i4", tmp_path / name)
    assert stage_names(recipe(model=f"dir:{copy}", stages=stages)) == names


def test_a_run_that_is_pruned_lends_its_folders_name(root, tmp_path):
    copy = shutil.copytree(root / "x-i4", tmp_path / "my-i4" / "checkpoint")
    assert stage_names(recipe(model=str(copy), stages=(2, 1))) == ["my-p1", "my"]


@pytest.mark.parametrize(
    ("stages", "says"),
    [((4,), "4 iterations cannot be pruned to 4"), ((2, 2), "2 .* to 2"), ((3, 1), "4 .* to 3"), ((1, 2), "1 .* to 2")],
)
def test_stages_that_do_not_divide(model, tmp_path, stages, says):
    with pytest.raises(PolzooError, match=says):
        prune(recipe(model=model, stages=stages), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_chain_cannot_start_from(root, model, pruned, tmp_path):
    checkpoint.save_alias(tmp_path / "x-flash", model, "flashgru")
    for name, says in ((tmp_path / "x-flash", "is an alias"), (pruned / "x-p1", "is a delta of")):
        with pytest.raises(PolzooError, match=says):
            prune(recipe(model=f"dir:{name}", stages=(1,)), tmp_path / "run")
    with pytest.raises(ValueError, match="leave out init and teacher"):
        chain(model, teacher=model)


def test_the_shipped_recipe_prunes_any_checkpoint(root, model, tmp_path, capsys):
    small = ["--set", f"data={DATA}", "--set", "stages=[2,1]", "--set", "steps=2", "--set", "batch_size=2"]
    said = ["train", "pip", "--set", f"model={model}", *small, "--set", "workers=0", "--out", str(tmp_path / "run")]
    assert main(said) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "run" / "x")
    assert polzoo.load(tmp_path / "run" / "x").settings.iterations == 1
    assert main([*said[:-1], str(tmp_path / "other"), "--dry-run"]) == 0
    assert "2 iterations" in capsys.readouterr().out and not (tmp_path / "other").exists()
    shutil.rmtree(tmp_path / "run" / "x")  # as if the last stage had been killed before it was published
    assert main([*said, "--resume", "--dry-run"]) == 0
    assert f"resume      {tmp_path / 'run' / 'p2'} goes on after step 2;" in capsys.readouterr().out
    assert main(["train", "pip", "--out", str(tmp_path / "new")]) == 2
    assert "--set model=" in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_prune_together(model, tmp_path, monkeypatch):
    """Twice the pairs a step; one of them writes, and the other waits for it before the next stage reads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    small = {"data": DATA, "stages": "[2,1]", "steps": 2, "batch_size": 2, "workers": 0, "precision": "no"}
    sets = [part for key, value in {"model": model, **small}.items() for part in ("--set", f"{key}={value}")]
    assert main(["train", "pip", *sets, "--nproc", "2", "--out", str(tmp_path / "run")]) == 0
    assert checkpoint.verify(tmp_path / "run" / "x").ok
