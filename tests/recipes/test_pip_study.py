"""The study of iteration pruning, small: fair, resumable to the same figures, and clear about what was chosen where."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import polzoo
from polzoo import checkpoint
from polzoo.cli.app import main
from polzoo.data.formats import write_image
from polzoo.errors import PolzooError
from polzoo.recipes import study
from polzoo.recipes.study import ARMS, Plan, Study, halvings
from polzoo.settings import Settings

SPEC = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=8,corr_levels=2,corr_radius=2)"
SIZE = "height=32,width=64,max_disparity=12"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    made = polzoo.build(SPEC, Settings(iterations=4, schedule_steps=4))
    return str(checkpoint.save(made, tmp_path_factory.mktemp("models") / "x-i4"))


def plan(model: str, **changes) -> Plan:
    scenes = {kind: f"synthetic(seed={i},length=3,{SIZE})" for i, kind in enumerate(("data", "select", "report"), 1)}
    few = {"arms": ("fine-tuning", "paper", "first teacher"), "rates": (1e-3, 1e-2), "seeds": 2, "steps": 2}
    return Plan(model=model, stages=(2, 1), batch_size=2, workers=0, **{**scenes, **few, **changes})


@pytest.fixture(scope="module")
def done(model, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("study")
    Study(plan(model), out, say=lambda _: None).run()
    return out


def lines(out: Path) -> list[dict]:
    found = [json.loads(text) for text in (out / "cells.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in found]


def test_every_loss_gets_every_rate_and_every_seed_the_chosen_one(done):
    cells = [(c["arm"], c["rate"], c["seed"], c["iterations"]) for c in lines(done)]
    arms = ("fine-tuning", "paper", "first teacher")
    found = json.loads((done / "results.json").read_text())
    wanted = [(name, 0.0, 0, k) for name in ("truncation", "stopped") for k in (4, 2, 1)]
    wanted += [(arm, rate, 0, k) for arm in arms for rate in (1e-3, 1e-2) for k in (2, 1)]
    wanted += [(arm, found["arms"][arm]["rate"], 1, k) for arm in arms for k in (2, 1)]
    assert sorted(cells) == sorted(wanted)
    by = {(c["arm"], c["rate"], c["seed"], c["iterations"]): c for c in lines(done)}
    for arm in arms:  # chosen on the scenes for selection, whatever the report says
        error = {rate: sum(by[arm, rate, 0, k]["select"]["all"] for k in (2, 1)) for rate in (1e-3, 1e-2)}
        assert found["arms"][arm]["rate"] == min(error, key=lambda rate: error[rate])
        values = [by[arm, found["arms"][arm]["rate"], seed, 1]["report"]["all"] for seed in (0, 1)]
        assert found["arms"][arm]["report"]["all"]["1"]["mean"] == pytest.approx(sum(values) / 2)
        full, cut = (by["truncation", 0.0, 0, k]["report"]["all"] for k in (4, 1))
        removed = [(cut - value) / (cut - full) for value in values]
        assert found["arms"][arm]["removed"]["1"]["mean"] == pytest.approx(sum(removed) / 2)
        plain = [by["fine-tuning", found["arms"]["fine-tuning"]["rate"], s, 1]["report"]["all"] for s in (0, 1)]
        assert found["arms"][arm]["against"]["1"]["mean"] == pytest.approx((sum(values) - sum(plain)) / 2)
    chosen = {arm: sum(one["mean"] for one in found["arms"][arm]["select"].values()) for arm in arms}
    assert found["best"] == min(("paper", "first teacher"), key=lambda arm: chosen[arm])  # of those that imitate


def test_truncation_and_a_trained_cell_are_what_the_model_gives(model, done):
    """The first scene, computed by the model itself: features shared between cells are the model's own."""
    from polzoo.data.loader import collate
    from polzoo.data.options import SyntheticOptions
    from polzoo.data.synthetic import Synthetic

    scenes = Synthetic(SyntheticOptions(seed=3, length=3, height=32, width=64, max_disparity=12))
    batch, loaded = collate([scenes[i] for i in range(3)]), polzoo.load(model)
    stored = study.unpack((done / "stages" / "seed0-k1.safetensors").read_bytes())
    cells = {(c["arm"], c["rate"], c["iterations"]): c["report"] for c in lines(done) if c["seed"] == 0}

    def predicted(iterations: int) -> torch.Tensor:
        with torch.no_grad():
            return loaded(batch["left"], batch["right"], iterations=iterations, polarity=batch["polarity"]).disparity

    with torch.no_grad():
        steps = loaded(batch["left"], batch["right"], polarity=batch["polarity"], all_iterations=True).sequence
    stopped = (steps[1] - batch["disparity"])[batch["valid"]].abs().mean().item()
    assert cells["stopped", 0.0, 2]["all"] == pytest.approx(stopped, rel=1e-4)
    full = predicted(4)
    right = (full - batch["disparity"]).abs() < study.RIGHT
    for arm, rate in (("truncation", 0.0), ("paper", 1e-2)):
        own = {
            name.removeprefix(f"{arm}/{rate:g}/"): x
            for name, x in stored.items()
            if name.startswith(f"{arm}/{rate:g}/")
        }
        loaded.update.load_state_dict(own or loaded.update.state_dict())
        out, known = predicted(1), batch["valid"]
        error = (out - batch["disparity"]).abs()
        wanted = {
            "all": error[known].mean().item(),
            "right": error[known & right].mean().item(),
            "wrong": error[known & ~right].mean().item(),
            "apart": (out - full).abs()[known].mean().item(),
            "share": right[known].float().mean().item(),
        }
        assert 0 < wanted["share"] < 1 and cells[arm, rate, 1] == pytest.approx(wanted, rel=1e-4)


def test_the_control_is_trained_with_all_iterations_and_measured_with_those_of_the_stage(model, tmp_path, monkeypatch):
    trained = []
    losses = study.Pip.losses
    monkeypatch.setattr(
        study.Pip, "losses", lambda pip, *given: trained.append(pip.model.settings.iterations) or losses(pip, *given)
    )
    arms = ("fine-tuning", study.KEPT)
    found = Study(plan(model, arms=arms, rates=(1e-3,), seeds=1), tmp_path, say=lambda _: None).run()
    assert trained == [2, 4, 2, 4, 1, 4, 1, 4]  # two steps of either, at both stages
    kept = found["arms"][study.KEPT]["report"]["all"]
    assert set(kept) == {4, 2, 1} and kept[4]["mean"] != kept[1]["mean"] != found["truncation"]["all"][1]


@pytest.mark.parametrize(
    "lost", ["stages/seed1-k1.safetensors", pytest.param("stages/seed0-k1.safetensors", marks=pytest.mark.slow)]
)
def test_a_study_that_was_killed_goes_on_to_the_same_figures(model, done, tmp_path, lost):
    out = shutil.copytree(done, tmp_path / "study")
    (out / lost).unlink()
    log = out / "cells.jsonl"
    log.write_text(log.read_text()[:-20])  # a kill cuts the last line
    Study(plan(model), out, say=lambda _: None).run()
    assert sorted(map(str, lines(out))) == sorted(map(str, lines(done)))
    assert (out / "results.json").read_text() == (done / "results.json").read_text()


def test_a_finished_study_trains_nothing(model, done, tmp_path, monkeypatch):
    monkeypatch.setattr(Study, "_train", lambda *_: pytest.fail("it trained"))
    again = shutil.copytree(done, tmp_path / "study")
    Study(plan(model), again, say=lambda _: None).run()
    assert (again / "results.json").read_text() == (done / "results.json").read_text()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"steps": 3}, "steps was 2 and is now 3"),
        ({"stages": (3, 1)}, "4 iterations cannot be pruned to 3"),
        ({"stages": ()}, "nothing can be pruned"),
        ({"arms": ("papers",)}, "did you mean 'paper'"),
    ],
)
def test_bad_plans(model, done, changes, says):
    from dataclasses import replace

    with pytest.raises(PolzooError, match=says):
        Study(replace(plan(model), **changes), done)


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        *(("--stages", value, "cannot be pruned to") for value in ("0", "-1", "-2", "2,0")),
        *(("--rates", value, "no learning rate") for value in ("0", "-1", "nan", "5", "inf")),
        *(("--budget", value, "budget") for value in ("nan", "inf", "0")),
        ("--device", "foo", "foo"),
        *((f"--{kind}", "synthetc(seed=1)", "did you mean 'synthetic'") for kind in ("data", "select", "report")),
        *((f"--{kind}", "folder(path='nowhere')", "nowhere") for kind in ("data", "select", "report")),
    ],
)
def test_what_cannot_be_studied_leaves_nothing_behind(model, tmp_path, capsys, option, value, says):
    assert main(["study", "pip", model, "--out", str(tmp_path / "study"), f"{option}={value}"]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("kind", ["select", "report"])
def test_scenes_to_measure_on_need_their_truth(model, tmp_path, kind):
    write_image(tmp_path / "view.png", np.zeros((32, 64, 3), np.uint8))
    (tmp_path / "pairs.csv").write_text("left,right\nview.png,view.png\n")
    with pytest.raises(PolzooError, match="has no true disparity"):
        Study(plan(model, **{kind: f"folder(path='{tmp_path / 'pairs.csv'}')"}), tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_stages_by_default(model):
    assert halvings(Plan(model)).stages == (2, 1)


def test_the_losses_that_are_compared_are_options_of_the_recipe():
    from polzoo.recipes.options import PipOptions

    made = [PipOptions(**options) for options in ARMS.values()]
    assert len({one.model_dump_json() for one in made}) == len(made) >= 8
    assert made[0].cum_weight == made[0].hid_weight == 0 and made[0].truth_weight == 1


def test_the_command(model, tmp_path, capsys):
    small = [f"--{kind}=synthetic(seed={i},length=2,{SIZE})" for i, kind in enumerate(("data", "select", "report"), 1)]
    small += [
        "--steps",
        "4",
        "--budget",
        "0.5",
        "--seeds",
        "1",
        "--rates",
        "1e-3",
        "--batch-size",
        "2",
        "--workers",
        "0",
    ]
    page, record = tmp_path / "page.md", tmp_path / "study.json"
    page.write_text(f"before\n<!-- tables: polzoo study pip {model} -->\nstale\n<!-- end of the tables -->\nafter\n")
    said = ["study", "pip", model, "--out", str(tmp_path / "study"), "--arms", "fine-tuning; paper", *small]
    assert main([*said, "--json", str(record), "--page", str(page)]) == 0
    shown = capsys.readouterr()
    assert "| truncation | – |" in shown.out and "| paper" in shown.out.replace("**", "") and "0 %" in shown.out
    assert shown.out == (tmp_path / "study" / "results.md").read_text() and "2 steps a stage" in shown.out
    assert shown.out in page.read_text() and "stale" not in page.read_text() and page.read_text().endswith("after\n")
    kept = json.loads(record.read_text())
    assert (
        kept["versions"]["torch"] and kept["arms"] == json.loads((tmp_path / "study/results.json").read_text())["arms"]
    )
    assert main([*said[:3], "--page", str(record)]) == 2
    assert "has no table to renew" in capsys.readouterr().err
    assert (tmp_path / "study" / "results.png").stat().st_size > 1000 and "seed 0, 1 iterations" in shown.err
    assert main([*said[:3], "--rates", "fast"]) == 2
    assert "no list of numbers" in capsys.readouterr().err
