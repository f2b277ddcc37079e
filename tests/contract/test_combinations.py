"""Every backbone × fusion × update, on their tiny options, through the same checks."""

from itertools import product

import pytest
import torch

from polzoo.registry import registry
from polzoo.spec import ModelSpec, make_part
from polzoo.zoo import build

KINDS = ("backbone", "fusion", "update")
OURS = [[e.key for e in registry().entries(kind) if e.distribution == "polzoo"] for kind in KINDS]
COMBINATIONS = list(product(*OURS))


def tiny(backbone: str, fusion: str, update: str) -> ModelSpec:
    def part(kind: str, name: str):
        return make_part(kind, name, dict(registry().get(kind, name).options().tiny))

    return ModelSpec(part("backbone", backbone), part("fusion", fusion), part("update", update))


@pytest.fixture(params=COMBINATIONS, ids="+".join)
def model(request):
    torch.manual_seed(0)
    model = build(tiny(*request.param))
    for p in model.fusion.parameters():  # a fusion that starts as the identity must be seen to act, too
        torch.nn.init.normal_(p, std=0.2)
    return model.eval()


def pair(b: int, h: int, w: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(b, 3, h, w, generator=g), torch.rand(b, 3, h, w, generator=g)


def test_it_is_tiny(model):
    assert sum(p.numel() for p in model.parameters()) < 50_000


@pytest.mark.parametrize("size", [(64, 96), (37, 71), (33, 130)])
@pytest.mark.parametrize("b", [1, 3])
def test_output_has_the_input_size(model, size, b):
    with torch.inference_mode():
        out = model(*pair(b, *size), iterations=2, all_iterations=True)
    assert out.disparity.shape == (b, 1, *size) and out.disparity.dtype == torch.float32
    assert len(out.sequence) == 2 * model.fusion.passes
    assert torch.isfinite(out.disparity).all()
    assert torch.equal(out.sequence[-1], out.disparity)


def test_same_twice_and_with_or_without_the_sequence(model):
    views = pair(2, 64, 96)
    with torch.inference_mode():
        a, b = (model(*views, iterations=3, all_iterations=every) for every in (True, False))
    assert torch.equal(a.disparity, b.disparity)


def test_batch_mates_do_not_matter(model):
    left, right = pair(3, 64, 96)
    with torch.inference_mode():
        together = model(left, right, iterations=3).disparity
        alone = torch.cat([model(left[i : i + 1], right[i : i + 1], iterations=3).disparity for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-4)


def test_gradients_are_finite_and_reach_the_cell(model):
    model.train()
    out = model(*pair(2, 64, 96), iterations=2, all_iterations=True)
    sum((d.abs().mean() for d in out.sequence), torch.zeros(())).backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert all(torch.isfinite(g).all() for g in grads.values())
    assert all(grads[f"update.{name}"].abs().sum() > 0 for name, p in model.update.named_parameters() if p.ndim > 1)
    assert any(g.abs().sum() > 0 for name, g in grads.items() if name.startswith("backbone."))


def test_state_dict_round_trip_is_strict_and_exact(model):
    other = build(model.spec).eval()
    other.load_state_dict(model.state_dict())
    views = pair(1, 64, 64)
    with torch.inference_mode():
        assert torch.equal(model(*views, iterations=2).disparity, other(*views, iterations=2).disparity)


def test_an_update_operator_holds_no_tensors(model):
    assert not model.operator.state_dict() and not list(model.operator.parameters())


def test_fused_copy_gives_equal_outputs_and_leaves_the_model_alone(model):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.7, 1.4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    copy = model.fuse()
    views = pair(1, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(
            copy(*views, iterations=3).disparity, model(*views, iterations=3).disparity, atol=1e-4, rtol=1e-4
        )
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in copy.modules())


def test_warm_start_goes_on_where_the_last_call_stopped(model):
    """Two calls of one step, the second from the first's state, are one call of two where α does not differ."""
    views = pair(1, 64, 96)
    with torch.inference_mode():
        whole = model(*views, iterations=2, polarity=0.0)
        first = model(*views, iterations=1, polarity=0.0)
        second = model(*views, iterations=1, polarity=0.0, state=first.state)
    if model.fusion.reach == 0 and model.fusion.needs == "rgb":
        torch.testing.assert_close(second.disparity, whole.disparity, atol=1e-5, rtol=1e-5)
    assert not torch.equal(second.disparity, first.disparity)


def test_declared_needs_are_honest(model):
    views = pair(1, 64, 96)
    with torch.inference_mode():
        one, other = (model(*views, iterations=3, polarity=p).disparity for p in (1.0, -1.0))
    assert torch.equal(one, other) == (model.fusion.needs == "rgb")


def test_trace_adds_up(model):
    with torch.inference_mode():
        out = model(*pair(1, 64, 96), iterations=3, trace=True)
    disparity = out.first
    for step in out.trace:
        disparity = disparity + step.delta
        torch.testing.assert_close(step.disparity, disparity)
    assert torch.equal(out.state.disparity, out.trace[-1].disparity)


def test_a_smaller_cell_refines_what_another_prepared(model):
    """What iteration pruning does: one encoding and volume, refined with a teacher's and a student's cell."""
    import copy

    student = copy.deepcopy(model.update)
    for p in student.parameters():
        p.data += 0.01
    with torch.inference_mode():
        prepared = model.prepare(*pair(1, 64, 96), iterations=2)
        own, other = model.refine(prepared).disparity, model.refine(prepared, student).disparity
        assert torch.equal(own, model.refine(prepared).disparity)
    assert not torch.equal(own, other)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_run_and_stay_near(model, dtype):
    views = pair(1, 64, 96)
    with torch.inference_mode():
        full = model(*views, iterations=2).disparity
        half = model.to(dtype)(*views, iterations=2).disparity
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.05 * full.abs().mean() + 0.05
