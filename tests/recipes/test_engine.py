"""Training end to end on a tiny model: learns, resumes to the same losses, writes a checkpoint, refuses bad input."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import polzoo
from polzoo.data.loader import StepSampler, WithTruth, collate
from polzoo.errors import PolzooError
from polzoo.model import StereoModel
from polzoo.recipes import config, state
from polzoo.recipes.engine import train

TINY = (
    "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=8,corr_levels=2,corr_radius=2)"
    "+v2c(hidden=8,gate_hidden=4)"
)
RECIPE = f"""
name = "tiny"
model = "{TINY}"
data = "synthetic(seed=3, length=12, height=32, width=64, max_disparity=12)"
iterations = 2
steps = 8
batch_size = 2
workers = 0
log_every = 1
save_every = 3
options = {{ lr = 1e-3 }}
"""


@pytest.fixture
def recipe(tmp_path) -> config.TrainingConfig:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE)
    return config.read(path)


def losses(out: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["grad_norm"]) for line in lines]


@pytest.mark.parametrize(("stop", "log_every"), [(3, 1), (5, 1), (5, 3)])
def test_a_stopped_run_goes_on_to_the_same_losses_and_weights(recipe, tmp_path, stop, log_every):
    recipe = recipe.model_copy(update={"log_every": log_every})
    whole = train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "halves", stop_after=stop)
    halves = train(recipe, tmp_path / "halves", resume=True)
    assert losses(tmp_path / "whole") == losses(tmp_path / "halves")
    assert [step for step, *_ in losses(tmp_path / "halves")] == [*range(log_every, 9, log_every)] + [8] * (
        log_every > 1
    )
    a, b = polzoo.load(str(whole)).state_dict(), polzoo.load(str(halves)).state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_lines_after_the_last_state_are_redone_not_repeated(recipe, tmp_path):
    train(recipe, tmp_path / "run", stop_after=4)
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 5, "loss": 0}\n')  # a kill after step 5, before its state was written
    train(recipe, tmp_path / "run", resume=True)
    assert [step for step, *_ in losses(tmp_path / "run")] == list(range(1, 9))


def test_workers_do_not_change_the_losses(recipe, tmp_path):
    train(recipe, tmp_path / "alone", stop_after=4)
    train(recipe.model_copy(update={"workers": 2}), tmp_path / "two", stop_after=4)
    assert losses(tmp_path / "alone") == losses(tmp_path / "two")


def test_it_learns(recipe, tmp_path):
    """Enough steps on twelve small scenes at least halve the error of the first."""
    train(recipe.model_copy(update={"steps": 120, "batch_size": 4}), tmp_path / "run")
    epe = [json.loads(line)["epe"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert sum(epe[-10:]) < 0.5 * sum(epe[:10])


def test_a_run_starts_from_anothers_weights(recipe, tmp_path):
    first = train(recipe, tmp_path / "first", stop_after=3)
    second = recipe.model_copy(
        update={"init": config.Init.model_validate({"from": str(first)}), "options": {"lr": 1e-12}}
    )
    made = train(second, tmp_path / "second", stop_after=1)
    before, after = polzoo.load(str(first)).state_dict(), polzoo.load(str(made)).state_dict()
    weights = [k for k in before if "running" not in k and "num_batches" not in k]
    assert all(torch.allclose(before[k], after[k], atol=1e-6) for k in weights)
    assert json.loads((made / "config.json").read_text())["provenance"]["parent"] == str(first)


def test_starting_from_another_model_is_refused(recipe, tmp_path):
    first = train(recipe, tmp_path / "first", stop_after=1)
    wider = recipe.model_copy(
        update={
            "init": config.Init.model_validate({"from": str(first)}),
            "model": recipe.model.replace("width=8", "width=12"),
        }
    )
    with pytest.raises(PolzooError, match=r"is raft-lite.*width=8.*this recipe trains raft-lite.*width=12"):
        train(wider, tmp_path / "second")


def test_the_checkpoint_says_how_it_was_made(recipe, tmp_path):
    folder = train(recipe, tmp_path / "run")
    made = json.loads((folder / "config.json").read_text())
    assert made["provenance"]["steps"] == 8 and made["provenance"]["data"].startswith("synthetic(")
    assert made["settings"]["schedule_steps"] == made["settings"]["iterations"] == 2
    assert config.read(folder / "recipe.toml") == recipe


def test_the_fusion_has_its_own_peak_rate(recipe, tmp_path):
    train(recipe, tmp_path / "run")
    rates = [json.loads(line)["lr"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(fusion == pytest.approx(5 * rest) for rest, fusion in rates)
    assert max(rest for rest, _ in rates) == pytest.approx(1e-3, rel=0.2)


def test_a_run_that_is_there_is_not_overwritten(recipe, tmp_path):
    train(recipe, tmp_path / "run", stop_after=3)
    with pytest.raises(PolzooError, match="--resume"):
        train(recipe, tmp_path / "run")


def test_resuming_another_recipe_says_what_differs(recipe, tmp_path):
    train(recipe, tmp_path / "run", stop_after=3)
    with pytest.raises(PolzooError, match="batch_size was 2 and is now 4"):
        train(recipe.model_copy(update={"batch_size": 4}), tmp_path / "run", resume=True)


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_loss_that_stays_not_finite_stops_the_run(recipe, tmp_path, monkeypatch):
    from polzoo.recipes import supervised

    whole = supervised.sequence_loss
    monkeypatch.setattr(supervised, "sequence_loss", lambda *a, **k: whole(*a, **k) * float("nan"))
    with pytest.raises(PolzooError, match="not finite for 10 batches up to step 10; lower"):
        train(recipe.model_copy(update={"steps": 50}), tmp_path / "run")


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_single_bad_batch_is_skipped_and_leaves_the_weights_alone(recipe, tmp_path, monkeypatch):
    from polzoo.recipes import supervised

    calls, whole = iter(range(100)), supervised.sequence_loss
    monkeypatch.setattr(
        supervised, "sequence_loss", lambda *a, **k: whole(*a, **k) * (float("nan") if next(calls) < 2 else 1.0)
    )
    folder = train(recipe, tmp_path / "run")
    assert all(torch.isfinite(p).all() for p in polzoo.load(str(folder)).parameters())


def test_a_torn_state_is_named(recipe, tmp_path):
    train(recipe, tmp_path / "run", stop_after=3)
    (weights,) = (tmp_path / "run" / "state").glob("*/part-0001.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(PolzooError, match=r"step-0000003 cannot be read"):
        train(recipe, tmp_path / "run", resume=True)


def test_a_torn_state_falls_back_to_the_one_before(recipe, tmp_path):
    whole = train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "run", stop_after=6)
    (tmp_path / "run" / "state" / "step-0000006" / "state.json").write_text("{}")
    again = train(recipe, tmp_path / "run", resume=True)
    a, b = polzoo.load(str(whole)).state_dict(), polzoo.load(str(again)).state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_stopping_before_where_the_run_is_is_refused(recipe, tmp_path):
    train(recipe, tmp_path / "run", stop_after=4)
    with pytest.raises(PolzooError, match="at step 4 already, beyond --stop-after 2"):
        train(recipe, tmp_path / "run", resume=True, stop_after=2)


def test_a_resumed_run_needs_nothing_of_what_it_started_from(recipe, tmp_path):
    first = train(recipe, tmp_path / "first", stop_after=1)
    after = recipe.model_copy(update={"init": config.Init.model_validate({"from": str(first)})})
    whole = train(after, tmp_path / "whole")
    train(after, tmp_path / "run", stop_after=3)
    shutil.rmtree(tmp_path / "first")
    again = train(after, tmp_path / "run", resume=True)
    a, b = polzoo.load(str(whole)).state_dict(), polzoo.load(str(again)).state_dict()
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_first_recipe_is_run_before_and_only_once(recipe, tmp_path):
    (tmp_path / "first.toml").write_text(RECIPE)
    after = recipe.model_copy(update={"init": config.Init(recipe=str(tmp_path / "first.toml"), steps=2), "steps": 4})
    train(after, tmp_path / "run", stop_after=1)
    made = (tmp_path / "run" / "init" / "checkpoint" / "config.json").stat().st_mtime_ns
    folder = train(after, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "init" / "checkpoint" / "config.json").stat().st_mtime_ns == made
    assert json.loads((folder / "config.json").read_text())["provenance"]["parent"].endswith("first.toml, 2 steps")


@pytest.mark.parametrize("bad", [{}, {"from": "x", "recipe": "y"}, {"from": "x", "steps": 3}])
def test_init_is_one_thing_or_the_other(bad):
    with pytest.raises(ValueError, match="either from, or recipe"):
        config.Init(**bad)


def test_only_whole_states_count(recipe, tmp_path):
    train(recipe, tmp_path / "run", stop_after=3)
    (tmp_path / "run" / "state" / "step-0000099").mkdir()
    assert state.exists(tmp_path / "run" / "state")
    train(recipe, tmp_path / "run", resume=True)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_sampler_covers_every_item_once_an_epoch_over_all_ranks(world):
    samplers = [StepSampler(12, 2, seed=0, steps=range(12 // (2 * world)), rank=r, world=world) for r in range(world)]
    assert sorted(i for s in samplers for step in s for i in step) == list(range(12))


def test_sampler_goes_on_from_any_step():
    whole = list(StepSampler(7, 3, seed=1, steps=range(10)))
    assert list(StepSampler(7, 3, seed=1, steps=range(6, 10))) == whole[6:]
    assert whole != list(StepSampler(7, 3, seed=2, steps=range(10)))


def test_a_sample_without_truth_is_refused_by_name(recipe):
    from dataclasses import replace

    from polzoo.data.options import SyntheticOptions
    from polzoo.data.synthetic import Synthetic

    sample = replace(Synthetic(SyntheticOptions(height=32, width=32))[0], disparity=None, name="pair-7")
    with pytest.raises(PolzooError, match="pair-7 has no true disparity"):
        WithTruth([sample])[0]  # pyright: ignore[reportArgumentType]
    batch = collate([sample])
    assert batch["disparity"].isnan().all() and not batch["valid"].any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps = ", "not valid TOML"),
        ('name = "x"\nmodel = "raft-lite"\ndata = "synthetic"', "steps: Field required"),
        (RECIPE + "stepz = 3", "did you mean 'steps'"),
        (RECIPE.replace("steps = 8", "steps = 0"), "greater than or equal to 1"),
        (RECIPE.replace("steps = 8", "steps = 'many'"), "steps"),
        (RECIPE.replace('"tiny"', '"Tiny Name"'), "name"),
    ],
)
def test_bad_recipes(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(PolzooError, match=message) as error:
        config.read(path)
    assert "bad.toml" in str(error.value) and "\n" not in str(error.value)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(PolzooError, match=r"nowhere\.toml"):
        config.read(tmp_path / "nowhere.toml")


def test_a_recipe_is_found_by_path_or_by_the_name_of_a_shipped_one():
    assert config.read(config.find("polstereo-nano")).name == "polstereo-nano"
    assert config.find("some/where.toml") == Path("some/where.toml")
    with pytest.raises(PolzooError, match="did you mean 'polstereo-nano'"):
        config.find("polstereo-nanno")


def test_write_and_read_agree(recipe, tmp_path):
    (tmp_path / "again.toml").write_text(config.write(recipe))
    assert config.read(tmp_path / "again.toml") == recipe


def crossattn(recipe, tmp_path, **changes):
    small = TINY.partition("+")[0] + "+crossattn(pol_width=4,pol_dim=4,attention_dim=4,heads=2)"
    options = {"lr": 1e-3, "alpha_cap_warmup": 4}
    return recipe.model_copy(update={"model": small, "options": options, **changes})


def test_cap_follows_the_steps_and_is_stored(recipe, tmp_path):
    recipe = crossattn(recipe, tmp_path)
    half = polzoo.load(train(recipe, tmp_path / "run", stop_after=2))
    assert half.settings.alpha_cap == pytest.approx(0.05 + 0.95 * 2 / 4)
    seen = []
    prepare = StereoModel.prepare

    def spy(self, *args, **call):
        seen.append(call.get("alpha_cap"))
        return prepare(self, *args, **call)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StereoModel, "prepare", spy)
        whole = train(recipe, tmp_path / "run", resume=True)
    assert seen[:6] == pytest.approx([0.525, 0.7625, 1, 1, 1, 1])  # steps 2 … 7; later calls write the golden output
    assert polzoo.load(whole).settings.alpha_cap == 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"options": {"alpha_cap_warmup": 5}}, "alpha_cap_warmup=5 is more than half of the 8 steps"),
        ({"model": TINY}, "alpha_cap_warmup has no effect: the fusion 'v2c'"),
    ],
)
def test_a_cap_that_cannot_work_is_refused(recipe, tmp_path, changes, says):
    with pytest.raises(PolzooError, match=says):
        train(crossattn(recipe, tmp_path, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("step", "cap"), [(0, 0.05), (1000, 0.24), (2500, 0.525), (5000, 1), (70_000, 1)])
def test_the_blueprints_cap(step, cap):
    from polzoo.recipes.options import SupervisedOptions
    from polzoo.recipes.supervised import Supervised

    model = polzoo.build(TINY.partition("+")[0] + "+crossattn(pol_width=4,pol_dim=4,attention_dim=4,heads=2)")
    assert Supervised(SupervisedOptions(alpha_cap_warmup=5000), model).alpha_cap(step) == pytest.approx(cap)


def test_a_learned_first_disparity_is_trained(recipe, tmp_path):
    """IGEV's first disparity has a loss of its own; without it, its upsampling would never learn."""
    from polzoo.registry import registry
    from polzoo.spec import ModelSpec, make_part, parse

    part = make_part("backbone", "igev", dict(registry().get("backbone", "igev").options().tiny))
    spec = parse("raft-lite")
    model = str(ModelSpec(part, spec.fusion, spec.update))
    start = polzoo.load(train(recipe.model_copy(update={"model": model, "steps": 1}), tmp_path / "one")).state_dict()
    end = polzoo.load(train(recipe.model_copy(update={"model": model, "steps": 4}), tmp_path / "four")).state_dict()
    learned = {
        key for key in start if "first_" in key and key.endswith("weight") and not torch.equal(start[key], end[key])
    }
    assert learned >= {key for key in start if key.startswith("backbone.first_superpixels") and key.endswith("weight")}
    line = json.loads((tmp_path / "four" / "log.jsonl").read_text().splitlines()[-1])
    assert line["first"] > 0 and line["loss"] > line["first"]
