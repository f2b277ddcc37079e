"""RAFT-Stereo against an independent re-creation of the official forward pass, and its own promises."""

import itertools
import random
import runpy
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from polzoo.convert import convert, from_official
from polzoo.errors import PolzooError
from polzoo.updates.cells import RaftCell
from polzoo.updates.sites import EVERYTHING
from polzoo.zoo import build

reference = runpy.run_path(str(Path(__file__).with_name("reference_raft.py")))

DEFAULT = {
    "n_gru_layers": 3,
    "n_downsample": 2,
    "shared_backbone": False,
    "slow_fast_gru": False,
    "context_norm": "batch",
    "hidden_dims": [128, 128, 128],
    "corr_levels": 4,
    "corr_radius": 4,
    "corr_implementation": "reg",
}
TINY = "raft(hidden_dims=[8, 8, 8], feature_dim=8, width=4, corr_levels=2, corr_radius=2{})"


def random_case(seed: int) -> tuple[dict, dict]:
    """A configuration and a call, every published switch among them."""
    rng = random.Random(seed)
    levels = rng.choice([1, 2, 3])
    outer = rng.choice([32, 64, 128])
    args = {
        "n_gru_layers": levels,
        "n_downsample": rng.choice([2, 3]),
        "shared_backbone": rng.random() < 0.4,
        "slow_fast_gru": rng.random() < 0.5,
        "context_norm": rng.choice(["batch", "instance", "group", "none"]),
        "hidden_dims": [outer, rng.choice([48, outer]), outer],  # the official context convolutions fit no others
        "corr_levels": rng.choice([2, 3, 4]) if levels < 3 else 4,
        "corr_radius": rng.choice([2, 3, 4]),
        "corr_implementation": rng.choice(["reg", "alt", "reg_cuda", "alt_cuda"]),
    }
    call = {
        "batch": rng.choice([1, 1, 2]),
        "size": (rng.randint(33, 64), rng.randint(97, 128)),
        "iterations": rng.choice([1, 2, 4]),
        "warm": rng.random() < 0.4,
    }
    return args, call


def run_case(seed: int) -> float:
    """Largest difference in pixels over the whole sequence."""
    args, call = random_case(seed)
    state, rng = reference["random_state"](args, seed), torch.Generator().manual_seed(seed)
    high, wide = call["size"]
    noise = torch.rand(call["batch"], 3, high // 4, wide // 4, generator=rng)
    texture = F.interpolate(noise, (high, wide + 8), mode="bicubic")
    texture = (255 * texture).clamp(0, 255).round()
    left, right = texture[..., :wide], texture[..., 5 : 5 + wide]
    flow, first = None, None
    if call["warm"]:
        stride = 2 ** args["n_downsample"]
        h, w = ((n + -n % 32) // stride for n in call["size"])
        flow = torch.zeros(call["batch"], 2, h, w)
        flow[:, 0] = -5 * torch.rand(call["batch"], h, w, generator=rng)
        first = -flow[:, :1]
    model, n = from_official(state, args=args), call["iterations"]
    with torch.no_grad():
        ours = model(left / 255, right / 255, iterations=n, initial_disparity=first, all_iterations=True)
        theirs = reference["Reference"](state, args)(left, right, n, flow)
    assert len(ours.sequence) == n
    assert theirs[-1].std() > 0.01
    return max((a - b).abs().max().item() for a, b in zip(ours.sequence, theirs, strict=True))


@pytest.mark.parametrize("seed", range(10))
def test_equals_the_reference(seed):
    assert run_case(seed) <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 160))
def test_equals_the_reference_in_many_more_cases(seed):
    assert run_case(seed) <= 1e-3


def test_reference_distinguishes():
    """The comparison has teeth: another schedule, norm or radius is seen."""
    state = reference["random_state"](DEFAULT, 0)
    left = torch.rand(1, 3, 64, 64).mul(255)
    right = left.roll(-4, -1)
    with torch.no_grad():
        model = from_official(state, args=DEFAULT | {"slow_fast_gru": True})
        ours = model(left / 255, right / 255, iterations=2).disparity
        theirs = reference["Reference"](state, DEFAULT)(left, right, 2)[-1]
    assert (ours - theirs).abs().max() > 1e-2


PUBLISHED = {
    "default": ({}, 11_116_176),
    "realtime": ({"shared_backbone": True, "n_downsample": 3, "n_gru_layers": 2, "slow_fast_gru": True}, 9_865_568),
    "instance": ({"context_norm": "instance"}, 11_108_688),
    "eighth": ({"n_downsample": 3}, 11_227_200),
    "one-level": ({"n_gru_layers": 1, "corr_levels": 2, "corr_radius": 3}, 9_344_528),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts(name):
    """Official count = ours + the flow's y channel + what was dropped, each entry once (norm3 is downsample.1)."""
    changes, official = PUBLISHED[name]
    args = DEFAULT | changes
    state = reference["random_state"](args, 0)
    conversion = convert(state, args=args)
    no_parameters = ("running_mean", "running_var", "num_batches_tracked", ".norm3.")
    learned = {k: v.numel() for k, v in state.items() if not any(part in k for part in no_parameters)}
    unused = sum(learned.get(key, 0) for key in conversion.dropped)
    ours = sum(p.numel() for p in conversion.model.parameters())
    y_channel = 64 * 49 + (256 * 9 + 1) + 3 * 128 * 9
    assert sum(learned.values()) == official
    assert ours == sum(learned.values()) - y_channel - unused
    assert y_channel == 8_897
    assert (ours == official - 8_897) == (name not in ("realtime", "one-level")), "only unused GRU levels are left out"


def test_tiny_is_tiny():
    assert sum(p.numel() for p in build(TINY.format("")).parameters()) < 50_000


@pytest.mark.parametrize(("levels", "slow_fast"), list(itertools.product([1, 2, 3], [False, True])))
def test_schedule(levels, slow_fast):
    every = tuple(range(levels))[::-1]
    schedule = build(TINY.format(f", gru_levels={levels}, slow_fast={str(slow_fast).lower()}")).update.schedule
    assert schedule[-1] == every
    assert schedule[:-1] == (tuple(every[:n] for n in range(1, levels)) if slow_fast else ())


def test_batch_independence():
    torch.manual_seed(0)
    model = build(TINY.format("")).eval()
    left, right = torch.rand(2, 3, 3, 50, 70)
    with torch.no_grad():
        together = model(left, right, iterations=3).disparity
        alone = torch.cat([model(left[i : i + 1], right[i : i + 1], iterations=3).disparity for i in range(3)])
    assert (together - alone).abs().max() <= 1e-4


def test_state_continues():
    torch.manual_seed(0)
    model = build(TINY.format("")).eval()
    left, right = torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        half = model(left, right, iterations=2)
        rest = model(left, right, iterations=2, state=half.state)
        whole = model(left, right, iterations=4)
    assert torch.equal(rest.disparity, whole.disparity)


def test_mask_head_runs_once_at_inference():
    model, calls = build(TINY.format("")).eval(), []
    assert isinstance(model.update, RaftCell)
    model.update.weights.register_forward_hook(lambda *_: calls.append(1))
    left, right = torch.rand(2, 1, 3, 64, 64)
    with torch.no_grad():
        model(left, right, iterations=5)
        assert len(calls) == 1
        model(left, right, iterations=5, all_iterations=True)
    assert len(calls) == 6


def test_host_says_the_true_channels():
    model = build("raft(hidden_dims=[8, 16, 24], feature_dim=8, width=4)").eval()
    prepared = model.prepare(*torch.rand(2, 1, 3, 64, 96))
    host, encoding = model.backbone.host, prepared.encoding
    assert host.hidden_dims == (24, 16, 8)
    assert tuple(h.shape[1] for h in encoding.hidden) == host.hidden_dims
    assert tuple(c.shape[1] for c in encoding.context) == host.context_dims == (72, 48, 24)
    assert encoding.matching[0].shape[1] == host.feature_dim
    assert prepared.volume.lookup(prepared.first, EVERYTHING).shape[1] == len(host.lookup) == 36


@pytest.mark.parametrize(
    ("norm", "shared"), [("batch", "true"), ("instance", "false"), ("group", "true"), ("none", "false")]
)
def test_every_parameter_learns(norm, shared):
    torch.manual_seed(0)
    model = build(TINY.format(f', context_norm="{norm}", shared_backbone={shared}, slow_fast=true')).train()
    output = model(*torch.rand(2, 1, 3, 64, 64), iterations=2, all_iterations=True)
    sum((d.abs().mean() for d in output.sequence), torch.zeros(())).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_on_demand_equals_the_volume_and_refuses_modulation():
    torch.manual_seed(0)
    kept = build(TINY.format(""))
    made = build(TINY.format(', lookup="alt_cuda"'))
    made.load_state_dict(kept.state_dict())
    left, right = torch.rand(2, 1, 3, 64, 64)
    outputs = [model.eval()(left, right, iterations=2).disparity for model in (kept, made)]
    assert (outputs[0] - outputs[1]).abs().max() < 1e-4
    for output in outputs:
        output.mean().backward()
    for a, b in zip(kept.parameters(), made.parameters(), strict=True):
        if a.grad is not None:
            assert b.grad is not None and torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-6)
    volume = made.backbone.correlate(made.prepare(left, right).encoding)
    with pytest.raises(PolzooError, match=r"no cost volume.*lookup='reg'"):
        volume.pairwise(left, right)


@pytest.mark.parametrize(("what", "reach"), [("cost", RaftCell.lookup_reach - RaftCell.motion_reach), ("disparity", 5)])
def test_motion_features_reach(what, reach):
    """A sparse step may look up exactly this far around the pixels whose motion features it needs, and no less."""
    torch.manual_seed(0)
    cell = build(TINY.format("")).update.double()
    inputs = {"cost": torch.rand(1, 10, 21, 21).double(), "disparity": torch.rand(1, 1, 21, 21).double()}
    inputs[what].requires_grad_()
    cell.motion(inputs["cost"], inputs["disparity"], EVERYTHING)[0, :, 10, 10].sum().backward()
    grad = inputs[what].grad
    assert grad is not None
    touched = grad[0].abs().sum(0).nonzero() - 10
    assert touched.abs().max() == reach


@pytest.mark.parametrize("factor", [4, 8])
def test_convex_upsampling(factor):
    from polzoo.backbones.upsample import convex_upsample

    torch.manual_seed(0)
    disparity, mask = torch.rand(2, 1, 5, 7), torch.randn(2, 9 * factor**2, 5, 7)
    fine = convex_upsample(disparity, mask, factor)
    weights = mask.view(2, 9, factor, factor, 5, 7).softmax(1)
    padded = F.pad(disparity, (1, 1, 1, 1))
    for y, x, i, j in itertools.product((0, 2, 4), (0, 3, 6), (0, factor - 1), (1, factor - 1)):
        patch = padded[:, 0, y : y + 3, x : x + 3].flatten(1)
        expected = factor * (weights[:, :, i, j, y, x] * patch).sum(1)
        torch.testing.assert_close(fine[:, 0, factor * y + i, factor * x + j], expected)
