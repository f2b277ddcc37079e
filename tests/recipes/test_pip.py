"""Iteration pruning: the three terms against their definitions, what is trained, shared and kept, and its costs."""

import copy
import time
import tomllib
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from polzoo import zoo
from polzoo.errors import PolzooError
from polzoo.interfaces import Trace
from polzoo.memory import LivePeak
from polzoo.recipes.options import PipOptions
from polzoo.recipes.pip import Pip, lasting
from polzoo.settings import Settings

LITE = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=8,corr_levels=2,corr_radius=2)"
V2C = f"{LITE}+v2c(hidden=8,gate_hidden=4)"


def model(spec: str, iterations: int, seed: int = 0, trained: int = 8):
    torch.manual_seed(seed)
    made = zoo.build(spec, Settings(iterations=iterations, schedule_steps=trained, alpha_cap=0.7))
    for p in made.fusion.parameters():
        p.data += 0.2 * torch.randn_like(p)
    return made


def batch(height: int = 64, width: int = 96, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    left, right, truth = (
        torch.rand(2, 3, height, width),
        torch.rand(2, 3, height, width),
        torch.rand(2, 1, height, width),
    )
    return {"left": left, "right": right, "disparity": 10 * truth, "valid": truth < 0.6, "polarity": torch.ones(2)}


def pip(spec: str = LITE, n: int = 8, k: int = 2, student: int = 1, **options) -> Pip:
    """A recipe whose student has another cell than its teacher."""
    return Pip(PipOptions(**options), model(spec, k, student), model(spec, n)).train()


@pytest.mark.parametrize("spec", [V2C, f"{LITE}+twopass(hidden=4)"])
def test_the_terms_are_what_the_definition_says(spec):
    """Against a teacher and a student that are run apart, step by step, without anything shared or left out."""
    recipe, given = pip(spec, 8, 2), batch()
    losses = recipe(given)
    call = {"left": given["left"], "right": given["right"], "polarity": given["polarity"], "trace": True}
    with torch.no_grad():
        fine = recipe.guide(**call)
        coarse = recipe.model(**call)
    ends = [i for p in range(recipe.model.fusion.passes) for i in (8 * p + 3, 8 * p + 7)]  # the ends of the windows
    moved = torch.cumsum(torch.stack([t.delta for t in coarse.trace]), 0)
    taught = torch.cumsum(torch.stack([t.delta for t in fine.trace]), 0)
    assert losses["cum"].item() == pytest.approx((moved - taught[ends]).abs().mean().item(), rel=1e-4)
    hidden = [F.mse_loss(t.hidden[0], fine.trace[i].hidden[0]).item() for t, i in zip(coarse.trace, ends, strict=True)]
    assert losses["hid"].item() == pytest.approx(sum(hidden) / len(hidden), rel=1e-4)
    target = torch.where(given["valid"], given["disparity"], fine.disparity)
    assert losses["disp"].item() == pytest.approx(F.smooth_l1_loss(coarse.disparity, target).item(), rel=1e-4)
    assert losses["loss"].item() == pytest.approx(sum(losses[key].item() for key in ("cum", "disp", "hid")))


def test_a_student_that_is_its_teacher_has_nothing_to_imitate():
    recipe = pip(V2C, 4, 4, student=0, truth_weight=0.0)
    assert all(recipe(batch())[key] == 0 for key in ("cum", "disp", "hid", "loss"))


def test_the_cumulative_term_reaches_every_increment_of_its_sum():
    found = [Trace(torch.randn(1, 1, 4, 4, requires_grad=True), torch.zeros(1, 1, 4, 4), ()) for _ in range(3)]
    wanted = [Trace(torch.zeros(1), torch.zeros(1, 1, 4, 4), ()) for _ in range(3)]
    *_, last = pip()._cumulative(torch.zeros(1, 1, 4, 4), found, wanted, torch.ones(1, 1, 4, 4))
    sign = torch.stack([t.delta for t in found]).sum(0).sign() / 16
    assert all(torch.equal(g, sign) for g in torch.autograd.grad(last, [t.delta for t in found]))


def test_weights_norms_and_targets_are_options():
    given = batch()
    terms = pip()(given)
    weighted = pip(cum_weight=2.0, disp_weight=0.5, hid_weight=0.0)(given)
    assert weighted["loss"].item() == pytest.approx(2 * terms["cum"].item() + 0.5 * terms["disp"].item(), rel=1e-5)
    for term in ("cum", "disp", "hid"):
        options: list[dict[str, Any]] = [{f"{term}_norm": norm} for norm in ("l1", "smooth-l1", "mse")]
        assert len({pip(**one)(given)[term].item() for one in options}) == 3
    shares = [pip(truth_weight=w)(given)["disp"].item() for w in (0.0, 0.5, 1.0)]
    assert shares[1] == pytest.approx((shares[0] + shares[2]) / 2, rel=1e-5) and shares[0] != shares[2]
    assert pip(gamma=0.5)(given)["disp"] > pip()(given)["disp"]


def test_a_teacher_is_imitated_where_it_is_right():
    """Truth that is the teacher's own disparity but for the left half: only cells of the right half count."""
    recipe, given = pip(trust=1.0), batch()
    wanted = recipe.taught(given, recipe.prepare(given))
    given |= {"disparity": wanted.disparity.clone(), "valid": torch.ones_like(given["valid"])}
    given["disparity"][..., :48] += 2
    mine = recipe.prepare(given)
    with torch.no_grad():
        found = recipe.model.refine(mine, trace=True)
    moved = torch.cumsum(torch.stack([t.delta for t in found.trace]), 0)
    apart = (moved - torch.stack([t.disparity for t in wanted.trace]))[..., 12:].abs().mean().item()
    assert recipe.losses(given, mine, wanted)["cum"].item() == pytest.approx(apart, rel=1e-4)
    given["valid"][..., :48] = False  # what is unknown cannot speak against the teacher
    assert recipe.losses(given, mine, wanted)["cum"] == pip().losses(given, mine, wanted)["cum"]


def test_truth_beyond_the_limit_counts_as_unknown():
    given = batch()
    other = {**given, "disparity": torch.where(given["disparity"] < 5, given["disparity"], 6.0)}
    one, two = (pip(max_disparity=5.0)(b)["loss"] for b in (given, other))
    assert torch.equal(one, two)


UNTRUE = {"disparity": torch.full((2, 1, 64, 96), torch.nan), "valid": torch.zeros(2, 1, 64, 96, dtype=torch.bool)}


def test_a_pair_without_truth_is_taught_by_the_teacher_alone():
    """Each pixel weighs the same, so a batch of both kinds is the mean of what its pairs are alone."""
    recipe, given = pip(gamma=0.9, trust=1.0), batch()
    mixed = {name: torch.cat([given[name][:1], UNTRUE[name][1:]]) for name in UNTRUE}
    with torch.no_grad():
        wanted = recipe.taught(given, recipe.prepare(given))
    losses = {name: recipe({**given, **truth}) for name, truth in (("known", {}), ("mixed", mixed), ("none", UNTRUE))}
    alone = (
        recipe({name: x[:1] for name, x in given.items()}),
        recipe({name: x[1:] for name, x in {**given, **UNTRUE}.items()}),
    )
    assert losses["mixed"]["disp"].item() == pytest.approx(sum(x["disp"].item() for x in alone) / 2, rel=1e-4)
    assert losses["mixed"]["epe"].item() == pytest.approx(alone[0]["epe"].item(), rel=1e-4)
    only = F.smooth_l1_loss(recipe.model(given["left"], given["right"]).disparity, wanted.disparity)
    assert losses["none"]["disp"].item() == pytest.approx(only.item(), rel=1e-4)
    everywhere = pip(trust=0.0)({**given, **UNTRUE})["cum"]
    assert torch.equal(losses["none"]["cum"], everywhere)
    for found in losses.values():
        recipe.zero_grad()
        found["loss"].backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in recipe.parameters())


def test_the_earlier_steps_see_the_truth_where_it_is_known():
    """With a decay of 1 every step weighs the same: the last one has the teacher where the truth is unknown."""
    recipe, given = pip(gamma=1.0), batch()
    out = recipe.model(given["left"], given["right"], polarity=given["polarity"], all_iterations=True)
    wanted = recipe.taught(given, recipe.prepare(given)).disparity
    first, last = (F.smooth_l1_loss(d, given["disparity"], reduction="none") for d in out.sequence)
    rest = F.smooth_l1_loss(out.disparity, wanted, reduction="none")
    total = (given["valid"] * first + torch.where(given["valid"], last, rest)).mean()
    assert recipe(given)["disp"].item() == pytest.approx(total.item(), rel=1e-4)


def test_the_cell_alone_is_trained_unless_the_recipe_asks_for_the_fusion_too():
    for train_fusion, trained in ((False, {"update"}), (True, {"update", "fusion"})):
        recipe = pip(V2C, train_fusion=train_fusion, pol_lr_mult=3.0)
        assert {n.split(".")[0] for n, p in recipe.model.named_parameters() if p.requires_grad} == trained
        rates = [group["lr"] for group in recipe.parameter_groups()]
        assert rates == pytest.approx([2e-4, 6e-4][: len(trained)])
        recipe(batch())["loss"].backward()
        assert {n.split(".")[0] for n, p in recipe.model.named_parameters() if p.grad is not None} == trained
        assert all(p.grad is None for p in recipe.guide.update.parameters())
        assert recipe.guide.backbone is recipe.model.backbone
        assert (recipe.guide.fusion is recipe.model.fusion) is not train_fusion


def test_a_trained_fusion_leaves_its_teachers_alone():
    recipe = pip(V2C, train_fusion=True, lr=0.1)
    taught = copy.deepcopy(recipe.guide.fusion.state_dict())
    recipe(batch())["loss"].backward()
    torch.optim.SGD(recipe.parameter_groups()).step()
    assert all(torch.equal(x, taught[name]) for name, x in recipe.guide.fusion.state_dict().items())
    assert any(not torch.equal(x, taught[name]) for name, x in recipe.model.fusion.state_dict().items())


def test_only_the_trained_parts_are_in_training_mode():
    recipe = pip(V2C)
    training = {name.split(".")[0] for name, m in recipe.model.named_modules() if m.training}
    assert recipe.training and training == {"update"} and not recipe.guide.training
    assert not any(m.training for m in recipe.eval().modules())


def test_the_polarization_schedule_stays_the_one_it_was_trained_with():
    recipe = pip(V2C, 8, 2)
    kept = recipe.model.settings
    assert (kept.iterations, kept.schedule_steps, kept.alpha_cap, recipe.alpha_cap(999)) == (2, 8, 0.7, 0.7)


def test_features_and_volume_are_computed_once(monkeypatch):
    recipe, calls = pip(V2C), []
    encode = recipe.model.backbone.encode
    monkeypatch.setattr(recipe.model.backbone, "encode", lambda pair: calls.append(1) or encode(pair))
    recipe(batch())
    assert len(calls) == 1


def test_of_the_teachers_steps_those_that_are_imitated_are_kept():
    recipe, given = pip(n=8, k=2), batch()
    with torch.no_grad():
        mine = recipe.prepare(given)
        kept = recipe.taught(given, mine).trace
        every = recipe.guide.refine(lasting(mine, 8), trace=True).trace
    assert len(kept) == 2 and len(every) == 8
    assert all(torch.equal(a.disparity, b.disparity) for a, b in zip(kept, every[3::4], strict=True))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: pip(n=8, k=3), "iterations = 3 does not divide the 8 of the teacher"),
        (lambda: pip(n=4, k=8), "iterations = 8 does not divide the 4"),
        (lambda: pip(f"{LITE}+twopass(hidden=4)", train_fusion=True), "'twopass' is not trainable in pruning"),
        (lambda: pip(cum_weight=0.0, disp_weight=0.0, hid_weight=0.0), "are all 0"),
        (lambda: Pip(PipOptions(), model(LITE, 2), model(V2C, 4)), "one fusion is needed for both"),
        (lambda: Pip(PipOptions(), model(LITE, 2), model(LITE.replace("width=8", "width=12"), 4)), "one backbone"),
    ],
)
def test_what_cannot_be_pruned_is_refused(make, says):
    with pytest.raises(PolzooError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


NANO = 'repvit(encoder="nano")'


PAPER: dict[str, Any] = {}
SHIPPED: dict[str, Any] = tomllib.loads((Path(__file__).parents[2] / "recipes" / "pip.toml").read_text())["options"]
MIXTURES = pytest.mark.parametrize("options", [PAPER, SHIPPED], ids=["paper", "shipped"])
STAGES = pytest.mark.parametrize(("n", "k"), [(16, 8), (2, 1)])


@pytest.mark.slow
@MIXTURES
@STAGES
def test_a_step_takes_what_its_parts_take(n, k, options):
    """At most 1.05 × (F + N·u + 3·K·u), F the frozen part and u one update, all measured in turns: medians of this
    process's CPU time. A shared machine's caches get 5 % on top, and three attempts."""
    recipe, given = pip(NANO, n, k, **options), batch(128, 256)

    def inference(iterations: int) -> None:
        with torch.no_grad():
            recipe.guide(given["left"], given["right"], iterations=iterations)

    runs = {
        "1": lambda: inference(1),
        "17": lambda: inference(17),
        "step": lambda: recipe(given)["loss"].backward(),
    }
    ratios = []
    for _ in range(3):
        times = {name: [] for name in runs}
        for turn in range(8):
            for name, run in runs.items():
                began = time.process_time()
                run()
                times[name] += [time.process_time() - began] if turn else []
        one, many, step = (median(found) for found in times.values())
        update = (many - one) / 16
        ratios.append(step / (1.05 * (one - update + (n + 3 * k) * update)))
        if ratios[-1] <= 1.05:
            return
    raise AssertionError(f"of the bound a step takes {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


@MIXTURES
@STAGES
def test_a_step_needs_the_students_memory_and_the_kept_states(n, k, options):
    """Peak of live tensors: no more than the student's own step with K hidden states, disparities and increments,
    and one full-size map, the teacher's final disparity; no slack."""
    recipe, given = pip(NANO, n, k, **options), batch(64, 128)

    def peak(run) -> int:
        with LivePeak() as counter:
            run()
        recipe.zero_grad(set_to_none=True)
        return counter.most

    def alone() -> None:
        out = recipe.model.refine(recipe.prepare(given), trace=True, all_iterations="gamma" in options)
        terms = [x.square().mean() for t in out.trace for x in (t.delta, *t.hidden)]
        finals = [F.smooth_l1_loss(d, given["disparity"]) for d in out.sequence or (out.disparity,)]
        torch.stack([*finals, *terms]).sum().backward()

    student, whole = peak(alone), peak(lambda: recipe(given)["loss"].backward())
    states = recipe.taught(given, recipe.prepare(given)).trace
    kept = sum(x.numel() * 4 for t in states for x in (t.delta, t.disparity, *t.hidden))
    full = given["disparity"].numel() * 4
    assert whole <= student + kept + full
