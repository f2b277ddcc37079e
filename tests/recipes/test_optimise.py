"""What is trained, what is not, and in which mode BatchNorm is."""

import json

import pytest
import torch

import polzoo
from polzoo.errors import PolzooError
from polzoo.recipes.engine import train
from polzoo.recipes.make import make_recipe
from polzoo.recipes.optimise import optimiser, set_modes


def weights(folder) -> dict[str, torch.Tensor]:
    return polzoo.load(str(folder)).state_dict()


def first(small, **changes) -> dict[str, torch.Tensor]:
    """What the model is before its first step."""
    return make_recipe(small(**changes), None)[0].model.state_dict()


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_what_is_frozen_stays_as_it_was_running_statistics_too(small, tmp_path):
    config = small("steps=2", freeze=["backbone.*"])
    after = weights(train(config, tmp_path / "run"))
    moved = changed(first(small, steps=2), after)
    assert moved and all(name.startswith("update.") for name in moved)


def test_a_part_is_let_go_after_its_share_of_the_steps(small, tmp_path):
    config = small("steps=4", thaw={"backbone.*": 0.5})
    before = first(small, steps=4)
    half = weights(train(config, tmp_path / "run", stop_after=2))
    assert not any(name.startswith("backbone.") for name in changed(before, half))
    whole = weights(train(config, tmp_path / "run", resume=True))
    assert any(name.startswith("backbone.") and name.endswith("weight") for name in changed(half, whole))
    assert any(name.endswith("running_mean") for name in changed(half, whole))


def test_a_resumed_thaw_is_that_of_an_unbroken_run(small, tmp_path):
    config = small("steps=4", thaw={"backbone.*": 0.5})
    whole = weights(train(config, tmp_path / "whole"))
    train(config, tmp_path / "run", stop_after=1)
    assert not changed(whole, weights(train(config, tmp_path / "run", resume=True)))


def test_batchnorm_by_pattern_the_last_match_counts(small):
    config = small(batchnorm={"*": "eval", "backbone.cnet.*": "train"})
    recipe, _ = make_recipe(config, None)
    set_modes(recipe, recipe.model, config, 0)
    norms = {n: m for n, m in recipe.model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert {n for n, m in norms.items() if m.training} == {n for n in norms if n.startswith("backbone.cnet.")} != set()
    assert recipe.model.update.training


def test_batchnorm_in_eval_mode_still_learns_its_scale(small, tmp_path):
    after = weights(train(small("steps=2", batchnorm={"*": "eval"}), tmp_path / "run"))
    moved = changed(first(small, steps=2), after)
    assert not any("running" in name for name in moved)
    assert any(name.startswith("backbone.") and name.endswith("bias") for name in moved)


def test_groups_hold_what_is_trained_and_peak_at_their_own_rates(small, tmp_path):
    fused = small().model + "+v2c(pol_levels=2,pol_radius=2,hidden=4,gate_hidden=4)"
    config = small(model=fused, freeze=["backbone.*", "fusion.gate.*"])
    recipe, _ = make_recipe(config, None)
    optimizer, _ = optimiser(recipe, config)
    held = [{id(p) for p in group["params"]} for group in optimizer.param_groups]
    assert held[0] == {id(p) for p in recipe.model.update.parameters()}
    assert held[1] == {id(p) for n, p in recipe.model.fusion.named_parameters() if not n.startswith("gate")}
    assert [group["max_lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 5e-3])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": ["backbon.*"]}, r"freeze: 'backbon.\*' matches nothing in this model; did you mean 'backbone.\*'"),
        ({"freeze": ["*"]}, "leaves nothing to train"),
        ({"thaw": {"cell.*": 0.5}}, "thaw: 'cell"),
        ({"batchnorm": {"update.*": "eval"}}, "batchnorm: 'update"),
    ],
)
def test_patterns_that_cannot_be_meant(small, changes, message):
    with pytest.raises(PolzooError, match=message):
        make_recipe(small(**changes), None)


def test_freeze_and_thaw_contradict_each_other(small):
    with pytest.raises(PolzooError, match="freeze and thaw both name 'update"):
        small(freeze=["update.*"], thaw={"update.*": 0.5})


# ------------------------------------------------------------------------------------------------------ the average


def test_the_average_follows_its_formula(small, tmp_path):
    """By hand from the weights after each step: a ← δ·a + (1 − δ)·w, δ = min(decay, (1 + n)/(10 + n))."""
    wanted = first(small, steps=3)
    for step in (1, 2, 3):
        now = weights(train(small("steps=3"), tmp_path / "plain", resume=True, stop_after=step))
        decay = min(0.25, (1 + step) / (10 + step))
        wanted = {
            name: decay * wanted[name].double() + (1 - decay) * value if value.is_floating_point() else value
            for name, value in now.items()
        }
    found = weights(train(small("steps=3", ema=0.25), tmp_path / "average"))
    assert all(torch.allclose(found[name].double(), wanted[name].double(), atol=1e-6) for name in found)


def test_the_average_is_resumed(small, tmp_path):
    config = small("steps=3", ema=0.9)
    whole = weights(train(config, tmp_path / "whole"))
    train(config, tmp_path / "run", stop_after=2)
    assert not changed(whole, weights(train(config, tmp_path / "run", resume=True)))


# --------------------------------------------------------------------------------------------------- accumulation


def log(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_accumulated_batches_are_one_large_batch(small, tmp_path):
    """Equal where every batch holds as much weight: no weights on glass, all truth known, no batch statistics."""
    options = {"lr": 1e-3, "glass_weight": 1.0, "strict_weight": 0.0, "pol_weight": 0.0}
    same = {"options": options, "batchnorm": {"*": "eval"}, "steps": 3}
    train(small(batch_size=4, **same), tmp_path / "one")
    train(small(batch_size=2, accumulate=2, **same), tmp_path / "two")
    for a, b in zip(log(tmp_path / "one"), log(tmp_path / "two"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)


def test_accumulation_goes_on_in_the_middle_of_an_epoch(small, tmp_path):
    config = small("steps=4", accumulate=3)
    train(config, tmp_path / "whole")
    train(config, tmp_path / "run", stop_after=1)
    train(config, tmp_path / "run", resume=True)
    keys = "step", "loss", "grad_norm", "lr"
    whole, run = ([{key: line[key] for key in keys} for line in log(tmp_path / name)] for name in ("whole", "run"))
    assert whole == run


# -------------------------------------------------------------------------------------------------------- compiling


def test_a_compiled_recipe_is_traced_once_and_has_the_same_losses(small, tmp_path, monkeypatch):
    compiled, graphs = torch.nn.Module.compile, []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled(module, backend=backend))
    train(small("steps=3", "batchnorm.'*'=eval"), tmp_path / "eager")
    train(small("steps=3", "batchnorm.'*'=eval", compile=True), tmp_path / "compiled")
    for a, b in zip(log(tmp_path / "eager"), log(tmp_path / "compiled"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    first = len(graphs)
    train(small("steps=6", "batchnorm.'*'=eval", compile=True), tmp_path / "longer")
    assert first and len(graphs) - first <= first  # further steps make no further graphs
