"""The contract suite itself: parts that keep the contract pass, and each way of breaking it is caught by its rule."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from polzoo.data.sample import Sample
from polzoo.interfaces import Backbone, Encoding, Fusion, Host, Recipe, UpdateOperator
from polzoo.options import Options
from polzoo.parts import EVERYTHING, AllPairs, PolarizationVolume, RaftLiteCell, row_lookup, zero_init
from polzoo.registry import registry
from polzoo.testing import Check, NotApplicable, all_checks, check_component, checks
from polzoo.testing.contract import RULES, Rule
from polzoo.testing.sites import SomeSites


def outcome(kind: str, part, rule: str, options=None, slow: bool = False) -> str:
    """What the named rule says of a part registered for this test: "" if it passes, else the failure."""
    with registry().temporary(kind, "mine", part, options):
        found = [check for check in checks(kind, "mine", slow=slow) if check.rule.name == rule]
        assert found, f"there is no rule {rule!r} for a {kind}"
        check = next((c for c in found if "toy" not in str(c.subject) and "raft-lite" in str(c.subject)), found[0])
        try:
            check()
        except AssertionError as failure:
            return str(failure)
    return ""


# ----------------------------------------------------------------------------------------------------------- fusions


class Good(Fusion):
    """A residual of polarization on every lookup, as a third party would write it."""

    reach: int = 1
    needs, identity_at_start = "pair", True

    def __init__(self, options, host):
        super().__init__(options, host)
        self.net = zero_init(nn.Conv2d(5, len(host.lookup), 3, padding=1))

    def encode(self, call, encoding):
        return PolarizationVolume(call.pair, self.host.stride, 1, 2)

    def modulate_lookup(self, cost, pol, disparity, step, at):
        return cost + at.run(self.net, pol.lookup(disparity, at.grow(self.reach)))


class MixesBatchMates(Good):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        p = pol.lookup(disparity, at)
        return cost + at.run(self.net, p / p.abs().max())


class ReachesFurther(Good):
    reach = 0


class KnowsNoSites(Good):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        return cost + self.net(pol.lookup(disparity, EVERYTHING))


class ClaimsRGB(Good):
    needs = "rgb"


class ClaimsPair(Fusion):
    needs = "pair"

    def modulate_lookup(self, cost, pol, disparity, step, at):
        return 2 * cost


class ReadsPlainPairs(Good):
    def encode(self, call, encoding):
        pol = super().encode(call, encoding)
        pol.sign = torch.ones_like(pol.sign)
        return pol


class ClaimsIdentity(Good):
    def __init__(self, options, host):
        super().__init__(options, host)
        nn.init.normal_(self.net.weight)


class NaNGradients(Good):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        return cost + (0 * at.run(self.net, pol.lookup(disparity, at.grow(1)))).square().sqrt()


class Detaches(Good):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        return super().modulate_lookup(cost, pol, disparity, step, at).detach()


class WrongGradient(Good):
    """The value of 2·r, the gradient of r."""

    def modulate_lookup(self, cost, pol, disparity, step, at):
        r = at.run(self.net, pol.lookup(disparity, at.grow(1)))
        return cost + r + r.detach()


class EndsDoublePrecision(Good):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        return cost + at.run(self.net, pol.lookup(disparity, at.grow(1)).float())


class LoopsOverColumns(Good):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        p = pol.lookup(disparity, at.grow(1))
        return cost + at.run(self.net, torch.stack([p[..., x] for x in range(p.shape[-1])], -1))


class TakesTruth(Good):
    def encode(self, call, encoding, truth=None):
        return super().encode(call, encoding)


class DrawsNumbers(Good):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        return cost + torch.rand_like(cost)


class ChangesTheEncoding(Good):
    def inject_context(self, encoding, pol, disparity, call):
        return tuple(context.add_(1) for context in encoding.context)


class CountsCalls(Good):
    def __init__(self, options, host):
        super().__init__(options, host)
        self.register_buffer("calls", torch.zeros(()))

    def encode(self, call, encoding):
        self.calls += 1
        return super().encode(call, encoding)


class OverflowsInHalf(Good):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        r = at.run(self.net, pol.lookup(disparity, at.grow(1)))
        return cost + r * (r * 1e6) / (r * 1e6 + 1e-9)


class ClaimsCap(Good):
    capped = True


class WrongLookupDim(Good):
    def lookup_dim(self):
        return len(self.host.lookup) + 1


class Misspelled(Fusion):
    def modulate_lookups(self, cost, pol, disparity, step, at):
        return 2 * cost


class NeedsEvenMaps(Good):
    def inject_context(self, encoding, pol, disparity, call):
        return tuple(c + F.interpolate(F.avg_pool2d(c, 16), scale_factor=16) for c in encoding.context)


class StartsAnew(Fusion):
    """It remembers the first disparity of a call, which a warm start does not."""

    def modulate_lookup(self, cost, pol, disparity, step, at):
        self.first = disparity if step.index == 0 else self.first
        return cost + self.first


class UnknownMaps(Good):
    needs = "heat"


class Huge(Good):
    def __init__(self, options, host):
        super().__init__(options, host)
        self.more = nn.Parameter(torch.zeros(60_000))


class KeepsBatchNorm(Good):
    """A norm in front of a convolution cannot be folded."""

    def __init__(self, options, host):
        super().__init__(options, host)
        self.norm = nn.BatchNorm2d(5)

    def modulate_lookup(self, cost, pol, disparity, step, at):
        return cost + at.run(nn.Sequential(self.norm, self.net), pol.lookup(disparity, at.grow(1)))


class ReadsAValue(Good):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        return 2 * cost if disparity.mean().item() > 3 else cost


BROKEN_FUSIONS = [
    (MixesBatchMates, "batch-mates", "sample"),
    (ReachesFurther, "reach", "read beyond the declared 0 px"),
    (KnowsNoSites, "reach", "raised RuntimeError"),
    (ClaimsRGB, "declared-needs", "says 'rgb' and polarity 0 changed"),
    (ClaimsPair, "declared-needs", "says 'pair' and polarity 0 did not change"),
    (ReadsPlainPairs, "plain-pair", "other intensities changed it"),
    (ClaimsIdentity, "identity-at-start", "iteration 1 of 2 differs"),
    (WrongLookupDim, "identity-at-start", "reads 11 channels where the backbone alone has 10"),
    (NaNGradients, "gradients", "is not finite"),
    (Detaches, "gradients", "fusion.net.weight gets none"),
    (WrongGradient, "exact-gradients", "modulate_lookup has another"),
    (EndsDoublePrecision, "exact-gradients", "at_least_float32"),
    (LoopsOverColumns, "no-loop-over-pixels", "instead of"),
    (TakesTruth, "hooks", "encode(self, call, encoding, truth) should be encode(self, call, encoding)"),
    (DrawsNumbers, "repeats", "another call changed it"),
    (ChangesTheEncoding, "another-cell", "refining again differs"),
    (CountsCalls, "state-dict", "fusion.calls"),
    (OverflowsInHalf, "half-precision", "float16"),
    (ClaimsCap, "cap", "capped is True and a cap of 0 did not change"),
    (WrongLookupDim, "lookup-dim", "lookup_dim() is 11 and the cost has 10"),
    (Misspelled, "does-something", "that of the un-fused model"),
    (NeedsEvenMaps, "odd-sizes", "it raised RuntimeError"),
    (UnknownMaps, "declared", "stokes, dolp, aolp"),
    (Huge, "tiny", "it has"),
    (KeepsBatchNorm, "inference-copy", "fusion.norm"),
]


@pytest.mark.parametrize(("part", "rule", "words"), BROKEN_FUSIONS)
def test_a_broken_fusion_is_caught(part, rule, words):
    failure = outcome("fusion", part, rule)
    assert failure.startswith(("fusion 'mine' fails", "a model fails")) and repr(rule) in failure
    assert words in failure


@pytest.mark.parametrize("rule", sorted({rule for _, rule, _ in BROKEN_FUSIONS}))
def test_a_good_fusion_is_not(rule):
    assert outcome("fusion", Good, rule) == ""


def test_a_fusion_that_reads_values_cannot_be_compiled():
    assert "raised" in outcome("fusion", ReadsAValue, "compiles", slow=True)


def test_three_lines_check_a_third_partys_fusion():
    with registry().temporary("fusion", "good", Good):
        results = check_component("fusion", "good")
    backbones, updates = (len(registry().entries(kind)) for kind in ("backbone", "update"))
    own, every = (len([rule for rule in RULES[kind] if not rule.slow]) for kind in ("fusion", "model"))
    assert len(results) == backbones * (own + updates * every)
    assert not [result for result in results if result.reason]


def test_all_failures_are_reported_at_once():
    both = type("Both", (ClaimsRGB, ReachesFurther), {})
    with (
        registry().temporary("fusion", "both", both),
        pytest.raises(AssertionError, match=r"\d+ of \d+ checks failed:") as caught,
    ):
        check_component("fusion", "both")
    assert "'reach'" in str(caught.value) and "'declared-needs'" in str(caught.value)


# --------------------------------------------------------------------------------------------------------- backbones


class Toy(Backbone):
    """A third party's backbone; pyramid, zero start and bilinear upsampling are inherited."""

    multiple, host = 32, Host(4, 8, (8,), (8,), row_lookup(levels=2, radius=2))

    def __init__(self, options):
        super().__init__(options)
        self.features = nn.Conv2d(3, 8, 7, 4, 3)

    def encode(self, pair):
        left, right = self.features(pair.left), self.features(pair.right)
        return Encoding((left, right), (torch.tanh(left),), (left,))

    def correlate(self, encoding):
        return AllPairs(*encoding.matching)

    def make_cell(self, lookup_dim):
        return RaftLiteCell(self.host, lookup_dim)


class WrongFeatures(Toy):
    host = Toy.host._replace(feature_dim=16)


class WrongContext(Toy):
    host = Toy.host._replace(context_dims=(8, 8))


class MirroredOffsets(Toy):
    """Offsets run the other way in each level than the declaration says."""

    def regularise(self, volume, encoding):
        pyramid, first = super().regularise(volume, encoding)
        read = pyramid.lookup
        pyramid.lookup = lambda disparity, at: read(disparity, at).unflatten(1, (2, 5)).flip(2).flatten(1, 2)
        return pyramid, first


class ViewsExchanged(Toy):
    def correlate(self, encoding):
        left, right = encoding.matching
        return AllPairs(left.flip(-1), right.flip(-1))


class FirstAtFullSize(Toy):
    def regularise(self, volume, encoding):
        pyramid, first = super().regularise(volume, encoding)
        return pyramid, F.interpolate(first, scale_factor=2)


class UpsamplesFeaturePixels(Toy):
    def upsample(self, disparity, mask, encoding):
        return super().upsample(disparity, mask, encoding) / self.host.stride


class ShortSightedCell(Toy):
    def make_cell(self, lookup_dim):
        cell = super().make_cell(lookup_dim)
        cell.lookup_reach = 3
        return cell


class IdleLevels(Toy):
    def make_cell(self, lookup_dim):
        cell = super().make_cell(lookup_dim)
        cell.schedule = ((1,), (1, 0))
        return cell


@pytest.mark.parametrize(
    ("part", "rule", "words"),
    [
        (WrongFeatures, "host", "(2, 8, 16, 24) instead of (2, 16, 16, 24)"),
        (WrongContext, "host", "context_dims is (8, 8), and context has (8,)"),
        (MirroredOffsets, "lookup", "differ by"),
        (MirroredOffsets, "lookup-peaks", "is highest at"),
        (ViewsExchanged, "lookup-peaks", "is highest at"),
        (FirstAtFullSize, "first-disparity", "(2, 1, 32, 48) instead of (2, 1, 16, 24)"),
        (UpsamplesFeaturePixels, "upsampling", "3 became 3 to 3"),
        (ShortSightedCell, "cell-reaches", "costs within 3 px read further"),
        (IdleLevels, "schedule", "it runs [0, 1] of the levels [0]"),
    ],
)
def test_a_broken_backbone_is_caught(part, rule, words):
    failure = outcome("backbone", part, rule)
    assert failure.startswith("backbone 'mine' fails") and repr(rule) in failure
    assert words in failure


@pytest.mark.parametrize("rule", [rule.name for rule in RULES["backbone"]])
def test_a_good_backbone_is_not(rule):
    assert outcome("backbone", Toy, rule) == ""


def test_a_learned_volume_is_skipped_with_its_reason():
    class Learned(ViewsExchanged):
        learned_groups = (0,)

    with registry().temporary("backbone", "mine", Learned):
        check = next(c for c in checks("backbone", "mine") if c.rule.name == "lookup-peaks")
        with pytest.raises(NotApplicable, match="every group of its lookup is learned"):
            check()


# ----------------------------------------------------------------------------------------------------------- updates


class Careful(UpdateOperator):
    """Refines the upper half, and leaves the rest as it is."""

    def sites(self, cell, encoding, disparity, step):
        return EVERYTHING

    def forward(self, cell, hidden, context, cost, disparity, at):
        motion = cell.motion(cost, disparity, at)
        state = list(hidden)
        for levels in cell.schedule:
            for level in levels:
                state[level] = cell.update(level, state, context, motion)
        upper = (torch.arange(disparity.shape[-2]) < disparity.shape[-2] // 2).view(1, 1, -1, 1)
        state[0] = torch.where(upper, state[0], hidden[0])
        return tuple(state), self.increment(upper, cell.head(state[0]))

    def increment(self, upper, delta):
        return torch.where(upper, delta, 0.0)


class HasTensors(Careful):
    def __init__(self, options):
        super().__init__(options)
        self.register_buffer("seen", torch.zeros(1))


class MovesWhatItLeft(Careful):
    def increment(self, upper, delta):
        return delta


def test_a_broken_update_is_caught():
    assert "it has seen" in outcome("update", HasTensors, "no-tensors")
    assert "Δ is not 0" in outcome("update", MovesWhatItLeft, "step")
    assert "the disparities differ" in outcome("update", Careful, "full-density")
    assert outcome("update", Careful, "step") == outcome("update", Careful, "no-tensors") == ""


# ------------------------------------------------------------------------------------------------------- importances


class Edges:
    """How steep the disparity is."""

    def __init__(self, options):
        self.options = options

    def __call__(self, encoding, disparity, step):
        return F.pad(disparity.diff(dim=-1).abs(), (0, 1))


class OfTheBatch(Edges):
    def __call__(self, encoding, disparity, step):
        found = super().__call__(encoding, disparity, step)
        return found / found.max()


class OneColumnShort(Edges):
    def __call__(self, encoding, disparity, step):
        return disparity.diff(dim=-1).abs()


def test_a_broken_importance_is_caught():
    assert "sample 0 differs" in outcome("importance", OfTheBatch, "batch-mates")
    assert "(2, 1, 16, 23) instead of (2, 1, 16, 24)" in outcome("importance", OneColumnShort, "map-of-the-grid")
    assert [outcome("importance", Edges, rule.name) for rule in RULES["importance"]] == ["", "", ""]


# ----------------------------------------------------------------------------------------------------------- recipes


class Rates(Options):
    weight_decay: float = 0.0
    eps: float = 1e-8


class Plain(Recipe):
    """Mean error where the truth is known."""

    def __init__(self, options, model):
        super().__init__()
        self.options, self.model = options, model

    def forward(self, batch):
        found = self.model(batch["left"], batch["right"], polarity=batch["polarity"], iterations=2).disparity
        return {"loss": self.mean((found - batch["disparity"]).abs(), batch["valid"])}

    def mean(self, error, valid):
        return error[valid].mean()

    def parameter_groups(self):
        return [{"params": list(self.model.parameters()), "lr": 1e-4}]


class LearnsUnknownTruth(Plain):
    def mean(self, error, valid):
        return error.mean()


class StandsStill(Plain):
    def mean(self, error, valid):
        return error.detach()[valid].mean() + 0 * error.sum()


class ForgetsTheFusion(Plain):
    def parameter_groups(self):
        return [{"params": [*self.model.backbone.parameters(), *self.model.update.parameters()], "lr": 1e-4}]


class GivesNoGradient(Plain):
    def mean(self, error, valid):
        return error[valid].mean().detach()


def test_a_broken_recipe_is_caught():
    assert "the loss went from" in outcome("recipe", LearnsUnknownTruth, "unknown-truth", Rates)
    assert "the loss went from" in outcome("recipe", StandsStill, "descends", Rates)
    assert "group 0 gets none" in outcome("recipe", StandsStill, "gradients", Rates)
    assert "no gradient flows" in outcome("recipe", GivesNoGradient, "losses", Rates)
    assert "are in none, such as model.fusion." in outcome("recipe", ForgetsTheFusion, "parameter-groups", Rates)
    assert "have no weight_decay, eps" in outcome("recipe", Plain, "parameter-groups")
    assert [outcome("recipe", Plain, rule.name, Rates) for rule in RULES["recipe"]] == [""] * len(RULES["recipe"])


# ---------------------------------------------------------------------------------------------------------- data sets


class Planes:
    """Random textures at 5 px."""

    def __init__(self, options):
        self.options = options

    def __len__(self):
        return 3

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(index)
        scene = self.scene(index)
        left, right = self.views(scene[..., :48], scene[..., 5:])
        return Sample(left, right, disparity=np.full((1, 32, 48), 5, np.float32), name=str(index))

    def scene(self, index):
        return np.random.default_rng(index).random((3, 32, 53), np.float32)

    def views(self, left, right):
        return left, right


class Exchanged(Planes):
    def views(self, left, right):
        return right, left


class Bytes(Planes):
    def views(self, left, right):
        return (255 * left).astype(np.uint8), (255 * right).astype(np.uint8)


class Undetermined(Planes):
    def scene(self, index):
        return np.random.default_rng().random((3, 32, 53), np.float32)


class Endless(Planes):
    def __getitem__(self, index):
        return super().__getitem__(index % 3)


def test_a_broken_data_set_is_caught():
    assert "times as far off as x + d" in outcome("dataset", Exchanged, "sign")
    assert "left is uint8 (3, 32, 48) instead of float32" in outcome("dataset", Bytes, "samples")
    assert "has another left, right" in outcome("dataset", Undetermined, "repeats")
    assert "index 3 of 3 gave a sample" in outcome("dataset", Endless, "length")
    assert [outcome("dataset", Planes, rule.name) for rule in RULES["dataset"]] == ["", "", "", ""]


def test_a_data_set_whose_options_only_its_user_knows_is_skipped_with_the_reason():
    for check in checks("dataset", "folder"):
        with pytest.raises(NotApplicable, match="needs path, which only its user knows: pass options="):
            check()


# ----------------------------------------------------------------------------------------------------------- metrics


class Error:
    """Sum of absolute errors over the pixels with an estimate."""

    label, unit = "error", "px"

    def __init__(self, options=None):
        self.options = options

    def __call__(self, predicted, truth, region):
        use = region & np.isfinite(predicted)
        return self.of(np.abs(predicted[use].astype(float) - truth[use]))

    def of(self, errors):
        return float(errors.sum()), errors.size


class ReadsOutside(Error):
    def __call__(self, predicted, truth, region):
        return float(np.abs(predicted - truth)[np.isfinite(predicted)].mean()), int(region.sum())


class IsAMean(Error):
    def of(self, errors):
        return (float(errors.mean()) if errors.size else 0.0), errors.size


class SumsHoles(Error):
    def __call__(self, predicted, truth, region):
        return float(np.abs(predicted - truth)[region].sum()), int(region.sum())


class IsSigned(Error):
    def __call__(self, predicted, truth, region):
        use = region & np.isfinite(predicted)
        return float((predicted[use] - truth[use] + 1).sum()), int(use.sum())


class FillsInPlace(Error):
    def __call__(self, predicted, truth, region):
        predicted[~np.isfinite(predicted)] = 0
        return super().__call__(predicted, truth, region)


class HasNoUnit(Error):
    unit = "pixels"


@pytest.mark.parametrize(
    ("part", "rule", "words"),
    [
        (ReadsOutside, "region", "outside it gave"),
        (IsAMean, "adds-up", "the parts add up to"),
        (SumsHoles, "counts", "the sum is nan"),
        (IsSigned, "perfect", "with unit px"),
        (FillsInPlace, "arguments", "it changed predicted"),
        (HasNoUnit, "label", "its unit is 'pixels'"),
        (SumsHoles, "no-estimate", "gave (nan"),
    ],
)
def test_a_broken_metric_is_caught(part, rule, words):
    assert words in outcome("metric", part, rule)
    assert outcome("metric", Error, rule) == ""


# ---------------------------------------------------------------------------------------------------------- baselines


class Shift:
    """The one disparity of the whole image that matches best."""

    sign = 1

    def __init__(self, options=None):
        self.options = options

    def __call__(self, left, right):
        errors = [np.abs(left[..., d:] - right[..., : right.shape[-1] - d]).mean() for d in range(16)]
        return np.full(left.shape[1:], self.sign * int(np.argmin(errors)), np.float32)


class Negative(Shift):
    sign = -1


class Infinite(Shift):
    sign = math.inf


class Guesses(Shift):
    def __call__(self, left, right):
        return np.random.default_rng().random(left.shape[1:], np.float32)


def test_a_broken_baseline_is_caught():
    assert "the median is -7 px" in outcome("baseline", Negative, "sign")
    assert "some are infinite" in outcome("baseline", Infinite, "disparity")
    assert "two calls differ" in outcome("baseline", Guesses, "repeats")
    assert [outcome("baseline", Shift, rule.name) for rule in RULES["baseline"]] == ["", "", ""]


# ------------------------------------------------------------------------------------------------------ the machinery


def test_a_skip_without_a_reason_fails():
    def silent(subject):
        raise NotApplicable("")

    def loud(subject):
        raise NotApplicable("it has no wings")

    with pytest.raises(AssertionError, match="skipped without a reason"):
        Check(Rule("flies", "It flies.", "", silent), "a pig", "pig")()
    with pytest.raises(NotApplicable, match="it has no wings"):
        Check(Rule("flies", "It flies.", "", loud), "a pig", "pig")()


def test_every_rule_says_what_it_demands_and_where_to_look():
    for rules in RULES.values():
        assert len({rule.name for rule in rules}) == len(rules)
        for rule in rules:
            assert rule.demand.endswith(".") and rule.look.endswith("."), rule.name


def test_every_kind_of_component_has_rules_and_every_combination_is_there_once():
    found = all_checks("polzoo")
    models = [str(check.subject) for check in found if check.rule.name == "batch-mates" and "+" in str(check.subject)]
    ours = [
        [e for e in registry().entries(kind) if e.distribution == "polzoo"] for kind in ("backbone", "fusion", "update")
    ]
    count = math.prod(map(len, ours))
    assert len(set(models)) == len(models) == count
    assert {check.component.split()[0] for check in found} >= {"a", "backbone", "fusion", "update", "recipe", "metric"}


def test_options_reach_the_component():
    found = checks("fusion", "crossattn", options={"final_fusion": False})
    check = next(c for c in found if c.rule.name == "identity-at-start" and "raft-lite" in str(c.subject))
    check()  # it claims to start as the identity with this option alone
    default = next(c for c in checks("fusion", "crossattn") if c.rule.name == "identity-at-start")
    with pytest.raises(NotApplicable, match="does not claim"):
        default()


def test_sites_show_what_is_read_beyond_them():
    mask = torch.zeros(1, 1, 5, 6, dtype=torch.bool)
    mask[..., 2, 3] = True
    at, x, net = SomeSites(mask), torch.rand(1, 2, 5, 6), nn.Conv2d(2, 1, 3, padding=1)
    row = at.run(net, at.grow(1).take(x))
    assert row.shape == (1, 1, 1, 30)
    torch.testing.assert_close(row[..., 2 * 6 + 3], net(x)[..., 2, 3].unsqueeze(-1))
    assert torch.isnan(row).sum() == 29
    assert torch.isnan(at.run(net, at.take(x))).all()
    with pytest.raises(ValueError, match="a map perhaps"):
        at.run(net, x)
