"""Selective-IGEV, IGEV-Stereo and Selective-RAFT against an independent re-creation, and what igev itself promises."""

import random
import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from polzoo.backbones.geometry import correlate, geometry_lookup, soft_argmin
from polzoo.convert import convert, from_official
from polzoo.errors import PolzooError
from polzoo.families import FAMILIES
from polzoo.updates.sites import EVERYTHING
from polzoo.zoo import build

reference = runpy.run_path(str(Path(__file__).with_name("reference_igev.py")))

SHARED = {"n_gru_layers": 3, "n_downsample": 2, "corr_implementation": "reg"}
IGEV = {**SHARED, "hidden_dims": [128] * 3, "corr_levels": 2, "corr_radius": 4, "max_disp": 192, "slow_fast_gru": False}
DEFAULT = {
    "selective-igev": IGEV,
    "igev-stereo": IGEV,
    "selective-raft": {**SHARED, "hidden_dim": 128, "corr_levels": 4, "corr_radius": 4},
}
TINY = (
    "igev(hidden_dims=[4,4,4],width=2,feature_width=2,feature_dim=6,groups=3,volume_width=2,max_disp=32,corr_radius=2"
    "{})"
)


def random_case(family: str, seed: int) -> tuple[dict, dict]:
    """A configuration and a call."""
    rng = random.Random(seed)
    args = DEFAULT[family] | {
        "n_gru_layers": rng.choice([1, 2, 3]),
        "corr_levels": rng.choice([1, 2, 3]),
        "corr_radius": rng.choice([2, 3, 4]),
    }
    outer = rng.choice([32, 48, 64])
    if family != "selective-raft":
        args["max_disp"] = rng.choice([96, 128, 192, 320])
        args["hidden_dims"] = [outer] * 3
    if family == "igev-stereo":
        args["hidden_dims"] = [outer, rng.choice([32, outer]), outer]  # the official context convolutions fit no others
        args["slow_fast_gru"] = rng.random() < 0.5
    call = {
        "batch": rng.choice([1, 1, 2]),
        "size": (rng.randint(33, 64), rng.randint(97, 128)),
        "iterations": rng.choice([1, 2, 4]),
        "warm": rng.random() < 0.4,
    }
    return args, call


def views(batch: int, size: tuple[int, int], seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A texture and the same 5 px to the side, 0–255."""
    rng, (high, wide) = torch.Generator().manual_seed(seed), size
    noise = torch.rand(batch, 3, high // 4, wide // 4, generator=rng)
    texture = (255 * F.interpolate(noise, (high, wide + 8), mode="bicubic")).clamp(0, 255).round()
    return texture[..., :wide], texture[..., 5 : 5 + wide]


def run_case(family: str, seed: int) -> float:
    """Largest difference in pixels over the whole sequence and the first disparity."""
    args, call = random_case(family, seed)
    state, n = reference["random_state"](family, args, seed), call["iterations"]
    left, right = views(call["batch"], call["size"], seed)
    start = None
    if call["warm"]:
        h, w = (-(-n // 32) * 8 for n in call["size"])
        start = 15 * torch.rand(call["batch"], 1, h, w, generator=torch.Generator().manual_seed(seed))
    model = from_official(state, family, args)
    with torch.no_grad():
        ours = model(left / 255, right / 255, iterations=n, initial_disparity=start, all_iterations=True)
        first, theirs = reference["Reference"](state, family, args)(left, right, n, start)
    assert len(ours.sequence) == n
    assert theirs[-1].std() > 0.01
    if first is not None:
        assert (ours.first - first[0]).abs().max() <= 1e-3
    return max((a - b).abs().max().item() for a, b in zip(ours.sequence, theirs, strict=True))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("family", DEFAULT)
def test_equals_the_reference(family, seed):
    assert run_case(family, seed) <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
@pytest.mark.parametrize("family", DEFAULT)
def test_equals_the_reference_in_many_more_cases(family, seed):
    assert run_case(family, seed) <= 1e-3


@pytest.mark.parametrize("family", ["selective-igev", "igev-stereo"])
def test_training_mode_equals_the_reference_exactly(family):
    """In double precision, with the volume's batch norms on the statistics of the batch: outputs and gradients."""
    args = DEFAULT[family] | {"hidden_dims": [32] * 3, "n_gru_layers": 2, "max_disp": 96}
    state = reference["random_state"](family, args, 3)
    left, right = views(2, (64, 96), 3)
    model = from_official(state, family, args).double().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    prepared = model.prepare(left.double() / 255, right.double() / 255, iterations=2)
    sequence = model.refine(prepared, all_iterations=True).sequence
    plain = reference["Reference"](state, family, args)
    plain.training = True
    watched = [k for k in ("cnet.conv1.weight", "classifier.weight", "sam.samconv.weight", "desc.bias") if k in state]
    for key in watched:
        plain.s[key].requires_grad_()
    first, theirs = plain(left, right, 2)
    full = model.backbone.upsample(prepared.first, None, prepared.encoding)
    for ours, other in zip((prepared.first, full, *sequence), (*first, *theirs), strict=True):
        assert (ours - other).abs().max() <= 1e-9
    (full.mean() + sum(d.square().mean() for d in sequence)).backward()
    (first[1].mean() + sum(d.square().mean() for d in theirs)).backward()
    sources = {official: ours for ours, official in FAMILIES[family].sources(model).items()}
    for key in watched:
        ours = model.get_parameter(sources[key]).grad
        torch.testing.assert_close(ours, plain.s[key].grad, rtol=1e-6, atol=1e-9)


def test_reference_distinguishes():
    """The comparison has teeth: another schedule or blend is seen."""
    args = DEFAULT["igev-stereo"] | {"hidden_dims": [32] * 3, "max_disp": 96}
    state, (left, right) = reference["random_state"]("igev-stereo", args, 0), views(1, (64, 96), 0)
    with torch.no_grad():
        model = from_official(state, "igev-stereo", args | {"slow_fast_gru": True})
        ours = model(left / 255, right / 255, iterations=2).disparity
        theirs = reference["Reference"](state, "igev-stereo", args)(left, right, 2)[1][-1]
    assert (ours - theirs).abs().max() > 1e-2


PUBLISHED = {
    "selective-igev": ("selective-igev", {}, 13_140_932),
    "two levels": ("selective-igev", {"n_gru_layers": 2}, 11_174_084),
    "igev-stereo": ("igev-stereo", {}, 12_598_114),
    "selective-raft": ("selective-raft", {}, 11_654_706),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts(name):
    """Official count = ours + what was dropped, each entry once (norm3 is downsample.1)."""
    family, changes, official = PUBLISHED[name]
    state = reference["random_state"](family, DEFAULT[family] | changes, 0)
    conversion = convert(state, family, DEFAULT[family] | changes)
    no_parameters = ("running_mean", "running_var", "num_batches_tracked", ".norm3.")
    learned = {k: v.numel() for k, v in state.items() if not any(part in k for part in no_parameters)}
    dropped = sum(learned.get(key, 0) for key in conversion.dropped)
    assert sum(learned.values()) == official
    assert sum(p.numel() for p in conversion.model.parameters()) == official - dropped
    unused_level = sum(n for k, n in learned.items() if k.startswith(("cnet.layer5.", "cnet.outputs16.")))
    assert dropped == {"two levels": 16 + unused_level, "selective-raft": 0}.get(name, 16)


def model_of(options: str = "", seed: int = 0):
    torch.manual_seed(seed)
    return build(TINY.format(options)).eval()


def test_tiny_is_tiny():
    assert sum(p.numel() for p in model_of().parameters()) < 60_000


def test_host_says_the_true_channels():
    model = model_of()
    prepared = model.prepare(*torch.rand(2, 1, 3, 64, 96))
    host, encoding = model.backbone.host, prepared.encoding
    assert tuple(h.shape[1] for h in encoding.hidden) == host.hidden_dims == (4, 4, 4)
    assert tuple(c.shape[1] for c in encoding.context) == host.context_dims == (5, 5, 5)
    assert encoding.matching[0].shape[1] == host.feature_dim == 6
    assert prepared.volume.lookup(prepared.first, EVERYTHING).shape[1] == len(host.lookup) == 2 * 5 * (2 + 1)
    assert encoding.importance is not None and encoding.importance.shape == (1, 1, 16, 24)


@pytest.mark.parametrize("options", ["", ',cell="conv",slow_fast=true', ",gru_levels=1", ",gru_levels=2,corr_levels=3"])
def test_every_parameter_learns(options):
    model = model_of(options).train()
    prepared = model.prepare(*torch.rand(2, 2, 3, 64, 96), iterations=2)
    output = model.refine(prepared, all_iterations=True)
    full = model.backbone.upsample(prepared.first, None, prepared.encoding)
    sum((d.abs().mean() for d in (full, *output.sequence)), torch.zeros(())).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_selective_cell_goes_with_every_switch_of_raft():
    torch.manual_seed(0)
    switches = 'cell="selective",shared_backbone=true,downsample=3,slow_fast=true,lookup="alt",context_norm="group"'
    model = build(f"raft(hidden_dims=[8,8,8],feature_dim=8,width=4,corr_levels=2,corr_radius=2,{switches})").train()
    left, right = torch.rand(2, 1, 3, 64, 96)
    prepared = model.prepare(left, right, iterations=2)
    importance = prepared.encoding.importance
    assert importance is not None and importance.shape == (1, 1, 8, 12)
    assert (importance > 0).all() and (importance < 1).all()
    model.refine(prepared).disparity.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_matching_alone_makes_the_volume():
    """What a fusion does to the matching features reaches the first disparity and both halves of the lookup."""
    from dataclasses import replace

    model = model_of()
    encoding = model.prepare(*torch.rand(2, 1, 3, 64, 96)).encoding
    other = replace(encoding, matching=tuple(m + torch.rand_like(m) for m in encoding.matching))
    one, two = (model.backbone.regularise(model.backbone.correlate(e), e) for e in (encoding, other))
    assert not torch.equal(one[1], two[1])
    near = [volume.lookup(one[1], EVERYTHING) for volume, _ in (one, two)]
    for c, channel in enumerate(model.backbone.host.lookup):
        if channel.offset == 0:
            assert not torch.equal(near[0][:, c], near[1][:, c]), channel


@pytest.mark.parametrize("far", [40.0, 1e4, -1e4, float("inf"), float("nan")])
def test_beyond_max_disp(far):
    """The geometry says nothing (0) beyond its last candidate, the correlation still does; all stays finite."""
    model, size = model_of(), (1, 1, 16, 40)
    prepared = model.prepare(*torch.rand(2, 1, 3, 64, 160))
    assert prepared.first.min() >= 0 and prepared.first.max() <= 7
    costs = prepared.volume.lookup(torch.full(size, 20.0), EVERYTHING)
    geometry = torch.tensor([c.group < 2 for c in model.backbone.host.lookup])
    assert (costs[:, geometry] == 0).all() and (costs[:, ~geometry] != 0).any()
    if far == far and abs(far) != float("inf"):
        output = model(*torch.rand(2, 1, 3, 64, 160), initial_disparity=torch.full(size, far), iterations=2)
        assert output.disparity.isfinite().all()
    else:
        prepared.volume.lookup(torch.full(size, far), EVERYTHING)  # reads nothing out of bounds


def test_images_narrower_than_max_disp():
    output = model_of(",corr_levels=2").eval()(*torch.rand(2, 1, 3, 40, 17), iterations=2)
    assert output.disparity.shape == (1, 1, 40, 17) and output.disparity.isfinite().all()


def test_state_reaches():
    """The new state of a pixel reads motion features ``motion_reach`` around it, no further."""
    cell = model_of().update.double()
    state = [torch.rand(1, 4, 24 // 2**i, 24 // 2**i).double() for i in range(3)]
    context = cell.prepare(tuple(torch.rand(1, 5, 24 // 2**i, 24 // 2**i).double() for i in range(3)))
    motion = torch.rand(1, 4, 24, 24).double().requires_grad_()
    cell.update(0, state, context, motion)[0, :, 12, 12].sum().backward()
    assert motion.grad is not None
    assert (motion.grad[0].abs().sum(0).nonzero() - 12).abs().max() == cell.motion_reach


def test_the_context_is_convolved_once():
    """Gates convolve state and what is read in every iteration; the context's share only in ``prepare``."""
    model, read, convolve = model_of(), [], F.conv2d

    def watch(x, *rest, **options):
        read.append(x.data_ptr())
        return convolve(x, *rest, **options)

    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        prepared = model.prepare(*torch.rand(2, 1, 3, 64, 64), iterations=4)
        patch.setattr(F, "conv2d", watch)
        model.refine(prepared)
    kernels_and_gates = 2 * 3
    for context in prepared.encoding.context:
        assert read.count(context.data_ptr()) == kernels_and_gates


def test_mask_head_runs_once_at_inference():
    model, calls = model_of(), []
    model.update.get_submodule("weights").register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model(*torch.rand(2, 1, 3, 64, 64), iterations=5)
    assert len(calls) == 1


def test_fused_copy_folds_every_batch_norm():
    """Convolutions in two and three dimensions, transposed ones among both."""
    model = model_of()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            for values, low, high in ((module.running_mean, -0.2, 0.2), (module.running_var, 0.7, 1.4)):
                assert values is not None
                torch.nn.init.uniform_(values, low, high)
    left, right = torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        copy = model.fuse()
        torch.testing.assert_close(copy(left, right).disparity, model(left, right).disparity, atol=1e-4, rtol=0)
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in copy.modules())


@settings(max_examples=20)
@given(
    st.integers(0, 99), st.integers(1, 3), st.integers(1, 4), st.integers(0, 2), st.floats(-3, 20), st.integers(2, 14)
)
def test_lookup_reads_what_the_channels_say(seed, groups, levels, radius, disparity, width):
    """Channel (level, offset, group) holds the costs of d + offset · 2^level, averaged over 2^level cells."""
    torch.manual_seed(seed)
    left, right = torch.rand(2, 1, 2 * groups, 3, width).double()
    channels = geometry_lookup(groups, levels, radius)
    volume = correlate(left, right, 8, groups)
    found = volume.pyramid(channels).lookup(torch.full((1, 1, 3, width), disparity, dtype=torch.float64), EVERYTHING)
    halves = (volume.costs.values.permute(0, 1, 3, 4, 2), volume.pairs.values)
    x = torch.arange(width).double().expand(1, 3, width)
    for c, (level, offset, group) in enumerate(channels):
        cells = halves[0][:, group] if group < groups else halves[1][:, 0]
        for _ in range(level):
            if cells.shape[-1] > 1:
                cells = reference["halved"](cells)
        d = disparity + offset * 2**level
        at = (d + 0 * x if group < groups else x - d) / 2**level
        torch.testing.assert_close(found[:, c], reference["read"](cells, at))


@settings(max_examples=20)
@given(st.integers(0, 99), st.integers(1, 12))
def test_volume_pairwise_and_modulate(seed, width):
    torch.manual_seed(seed)
    left, right, a, b = torch.rand(4, 2, 6, 3, width)
    volume = correlate(left, right, 8, groups=3)
    pairs = volume.pairwise(a, b)
    assert pairs.shape == (2, 6, 8, 3, width)
    for d in range(8):
        for x in range(width):
            other = b[..., x - d] if x >= d else 0
            assert torch.equal(pairs[:, :, d, :, x], a[..., x] + other)
    changed = volume.modulate(lambda pairwise: pairwise(a, b).mean(1, keepdim=True).sigmoid())
    weight = (a.unsqueeze(-1) + b.unsqueeze(-2)).mean(1, keepdim=True).sigmoid()
    torch.testing.assert_close(changed.pairs.values, volume.pairs.values * weight)
    torch.testing.assert_close(changed.costs.values, volume.costs.values * pairs.mean(1, keepdim=True).sigmoid())


def test_both_halves_hold_the_same_correlations():
    """Group means by disparity, summed with their sizes, are the plain products of the rows."""
    left, right = torch.rand(2, 1, 6, 3, 12)
    volume = correlate(left, right, 8, groups=3)
    for d in range(8):
        row = volume.pairs.values[:, 0].diagonal(-d, -2, -1)
        torch.testing.assert_close(2 * volume.costs.values[:, :, d, :, d:].sum(1), row)


def test_soft_argmin():
    logits = torch.full((1, 8, 2, 2), -50.0)
    logits[0, 5] = 50
    logits[0, 2, 1, 1] = 50
    torch.testing.assert_close(soft_argmin(logits), torch.tensor([[[[5.0, 5.0], [5.0, 3.5]]]]))
    assert soft_argmin(torch.zeros(1, 8, 1, 1)).item() == pytest.approx(3.5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("igev(max_disp=100)", "max_disp=100 should be a multiple of 32"),
        ("igev(max_disp=0)", "max_disp=0 should be greater than or equal to 32"),
        ("igev(gru_levels=4)", "gru_levels=4"),
        ("igev(groups=7)", "feature_dim=96 is no multiple of groups=7"),
        ("igev(hidden_dims=[64,128,128])", r"hidden_dims=\[64, 128, 128\] must be equal"),
        ('raft(cell="selective",hidden_dims=[64,128,128])', "must be equal"),
        ('igev(cell="selectiv")', 'did you mean .?"?selective'),
        ("igev(max_dips=96)", "did you mean 'max_disp'"),
    ],
)
def test_wrong_options(spec, message):
    with pytest.raises(PolzooError, match=message) as caught:
        build(spec)
    assert "\n" not in str(caught.value)
