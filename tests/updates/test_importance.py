"""Where refinement pays: values, signs and what happens when a source is missing."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F

import polzoo
from polzoo.interfaces import Encoding, Memory, Pair, Step
from polzoo.options import Options
from polzoo.updates import importance
from polzoo.updates.cells import RaftLiteCell


def step(index: int = 0, **memory) -> Step:
    left = torch.zeros(1, 3, 16, 24)
    left[..., 12:] = 1
    pair = Pair(left, left, torch.ones(1), left, left)
    return Step(0, index, 4, 1.0, None, Memory(pair, **memory))


DISPARITY = torch.zeros(1, 1, 4, 6)


def encoding(attention=None) -> Encoding:
    return Encoding((DISPARITY, DISPARITY), (DISPARITY,), (DISPARITY,), attention)


def test_attention_and_its_inverse():
    attention = torch.rand(1, 1, 4, 6)
    for name, sign in (("Attention", 1), ("InverseAttention", -1)):
        found = getattr(importance, name)(Options())(encoding(attention), DISPARITY, step())
        assert torch.equal(found, sign * attention)


def test_gradient_is_high_at_the_edge_alone():
    found = importance.Gradient(Options())(encoding(), DISPARITY, step())
    assert (found[..., 2:4] > 0).all() and not found[..., :2].any() and not found[..., 4:].any()


def test_auto_takes_attention_where_there_is_one():
    auto, attention = importance.Auto(Options()), torch.rand(1, 1, 4, 6)
    assert torch.equal(auto(encoding(attention), DISPARITY, step()), attention)
    assert torch.equal(
        auto(encoding(), DISPARITY, step()), importance.Gradient(Options())(encoding(), DISPARITY, step())
    )


@pytest.mark.parametrize("source", ["motion", "gate"])
def test_a_source_that_needs_a_step_makes_the_first_one_dense(source):
    torch.manual_seed(0)
    model = polzoo.build(f'raft-lite+v2c+flashgru(density=0.1,importance="{source}")').eval()
    left, right = torch.rand(2, 1, 3, 64, 96).unbind()
    with torch.inference_mode():
        out = model(left, right, iterations=3, trace=True)
    shares = [(one.delta != 0).float().mean().item() for one in out.trace]
    assert shares == pytest.approx([1, 0.1, 0.1], abs=0.01)


def test_motion_chooses_what_moved_most():
    torch.manual_seed(0)
    model = polzoo.build('raft-lite+flashgru(density=0.1,importance="motion")').eval()
    left, right = torch.rand(2, 1, 3, 64, 96).unbind()
    with torch.inference_mode():
        out = model(left, right, iterations=2, trace=True)
    first, chosen = out.trace[0].delta.abs(), out.trace[1].delta != 0
    assert first[chosen].min() >= first[~chosen].max()


REACH = RaftLiteCell.lookup_reach
"""Pixels around a refined one whose gates are computed too."""


class Seen:
    """An importance that notes what the steps before left for it."""

    after_first = True

    def __init__(self, source) -> None:
        self.source, self.updates, self.gates = source, [], []

    def __call__(self, encoding, disparity, step):
        self.updates.append(step.memory.update)
        self.gates.append(step.memory.gate)
        return self.source(encoding, disparity, step)


def run_and_see(source: str, refresh: str):
    """What a model's importance saw, and the updates of its four steps."""
    torch.manual_seed(0)
    model: Any = polzoo.build(f'raft-lite+v2c+flashgru(density=0.02,importance="{source}",refresh="{refresh}")').eval()
    for parameter in model.fusion.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    model.operator.importance = seen = Seen(model.operator.importance)
    left, right = torch.rand(2, 1, 3, 64, 96).unbind()
    with torch.inference_mode():
        return seen, [one.delta for one in model(left, right, iterations=4, trace=True).trace]


@pytest.mark.parametrize("source", ["motion", "gate"])
def test_gates_and_updates_of_pixels_left_out_are_kept(source):
    """With each step's own mask, the update that counts is the last one that a pixel got, not the 0 it was given."""
    seen, deltas = run_and_see(source, "each-step")
    last, gate = deltas[0].abs(), seen.gates[0]
    torch.testing.assert_close(seen.updates[0], last, atol=1e-5, rtol=0)
    for delta, update, new_gate in zip(deltas[1:-1], seen.updates[1:], seen.gates[1:], strict=True):
        chosen = delta != 0
        last = torch.where(chosen, delta.abs(), last)
        torch.testing.assert_close(update, last, atol=1e-5, rtol=0)
        assert update[~chosen].all()
        far = (F.max_pool2d(chosen.float(), 2 * REACH + 1, 1, REACH) == 0).expand_as(gate)
        assert far.any() and torch.equal(new_gate[far], gate[far]) and not torch.equal(new_gate, gate)
        gate = new_gate


@pytest.mark.parametrize("source", ["motion", "gate"])
def test_a_fixed_mask_is_chosen_once(source):
    seen, deltas = run_and_see(source, "fixed")
    assert len(seen.updates) == 1
    assert all(torch.equal(delta != 0, deltas[1] != 0) for delta in deltas[2:])
