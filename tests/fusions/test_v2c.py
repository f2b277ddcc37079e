"""V2C: every fact of the blueprint's specification that a test can hold."""

import pytest
import torch

import polzoo
from polzoo.fusions.polarization import PolarizationVolume, gradient
from polzoo.fusions.v2c import StereoPolVolumeV2C
from polzoo.interfaces import Pair, alpha
from polzoo.updates.sites import EVERYTHING

SMALL = "raft-lite(hidden_dim=16,context_dim=16,feature_dim=16,width=8)"


def parameters(spec: str) -> int:
    return sum(p.numel() for p in polzoo.build(spec).parameters())


def pair(b: int = 2, h: int = 64, w: int = 96, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(b, 3, h, w, generator=g), torch.rand(b, 3, h, w, generator=g)


def twins(seed: int = 0):
    """The same backbone and cell without and with V2C."""
    torch.manual_seed(seed)
    plain = polzoo.build(SMALL + "+none").eval()
    fused = polzoo.build(SMALL + "+v2c").eval()
    fused.load_state_dict(plain.state_dict() | {k: v for k, v in fused.state_dict().items() if k.startswith("fusion.")})
    return plain, fused


def randomised(model, seed: int = 1):
    """The model with a fusion that does something."""
    torch.manual_seed(seed)
    for p in model.fusion.parameters():
        torch.nn.init.normal_(p, std=0.5)
    return model


def test_counts_on_raft_lite():
    assert parameters("raft-lite") == 3_938_241
    assert parameters("raft-lite+v2c") == 4_009_031
    fusion = polzoo.build("raft-lite+v2c").fusion
    assert isinstance(fusion, StereoPolVolumeV2C)
    assert sum(p.numel() for p in fusion.residual.parameters()) == 60_069
    assert sum(p.numel() for p in fusion.gate.parameters()) == 10_721


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_starts_bit_identical_to_the_unfused_model(iterations):
    plain, fused = twins()
    left, right = pair()
    with torch.inference_mode():
        a = plain(left, right, iterations=iterations, all_iterations=True)
        b = fused(left, right, iterations=iterations, all_iterations=True)
    assert all(torch.equal(x, y) for x, y in zip(a.sequence, b.sequence, strict=True))


def test_gate_is_a_half_at_the_start():
    class Gates(list):
        def record(self, step, name, value):
            self.append((name, value))

    _, fused = twins()
    gates = Gates()
    fused(*pair(), iterations=3, recorder=gates)
    gates = [(name, value) for name, value in gates if name == "gate"]
    assert len(gates) == 3
    assert all(torch.equal(value, torch.full_like(value, 0.5)) for _, value in gates)
    assert gates[0][1].shape == (2, 1, 16, 24)


@pytest.mark.parametrize(("iterations", "moves"), [(1, set()), (2, {"weight", "bias"}), (4, {"weight", "bias"})])
def test_at_the_first_step_only_the_last_layer_of_the_residual_learns(iterations, moves):
    """schedule_steps equals the iterations, so the first step's α is 0 and N = 1 would read no polarization … but for
    the aligned schedule's rule that a single iteration has α = 1."""
    model = polzoo.build(SMALL + "+v2c(schedule='literal')")
    out = model(*pair(), iterations=iterations, all_iterations=True)
    sum((d.abs().sum() for d in out.sequence), torch.zeros(())).backward()
    alive = {name for name, p in model.fusion.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert alive == {f"residual.4.{name}" for name in moves}


def test_no_gradient_reaches_the_disparity_through_the_fusion():
    """Not through the gradient map, nor through the place where polarization is looked up."""
    model, views = randomised(polzoo.build(SMALL + "+v2c")), pair(1)
    prepared = model.prepare(*views, iterations=2)
    disparity = (5 * torch.rand(1, 1, 16, 24)).requires_grad_()
    cost = torch.zeros(1, 36, 16, 24)
    _, last = prepared.call.steps(0)
    out = model.fusion.modulate_lookup(cost, prepared.pol, disparity, last, EVERYTHING)
    assert out.abs().max() > 0 and out.requires_grad
    assert torch.autograd.grad(out.sum(), disparity, allow_unused=True) == (None,)


def test_gradient_is_normalised_per_sample_and_zero_where_flat():
    flat = torch.full((1, 1, 6, 7), 3.0)
    ramp = torch.arange(7.0).expand(1, 1, 6, 7)
    small, steep = gradient(torch.cat([1e-5 * ramp, 100 * ramp])).split(1)
    assert torch.equal(gradient(flat), torch.zeros(1, 1, 6, 7))
    assert torch.equal(small, torch.zeros(1, 1, 6, 7))
    torch.testing.assert_close(steep, torch.ones(1, 1, 6, 7))


def test_gradient_repeats_the_last_difference():
    d = torch.tensor([[0.0, 1.0, 4.0], [0.0, 1.0, 4.0]])[None, None]
    torch.testing.assert_close(gradient(d)[0, 0, 0], torch.tensor([1 / 3, 1.0, 1.0]), atol=1e-4, rtol=0)


def test_a_batch_gives_each_sample_what_it_gets_alone():
    model = randomised(polzoo.build(SMALL + "+v2c").eval())
    left, right = pair(3)
    polarity = torch.tensor([1.0, -1.0, 0.0])
    with torch.inference_mode():
        together = model(left, right, polarity=polarity, iterations=4).disparity
        alone = [
            model(left[i : i + 1], right[i : i + 1], polarity=polarity[i], iterations=4).disparity for i in range(3)
        ]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-4, rtol=1e-4)


def test_polarity_flips_the_signed_difference_and_none_silences_it():
    left, right = pair(1)
    d = torch.rand(1, 1, 16, 24) * 6

    def volume(sign: float) -> torch.Tensor:
        views = Pair(left, right, torch.tensor([sign]), left, right)
        return PolarizationVolume(views, 4, 4, 4).lookup(d, EVERYTHING)

    assert torch.equal(volume(1.0), -volume(-1.0))
    assert torch.equal(volume(0.0), torch.zeros_like(volume(1.0)))
    assert volume(1.0).abs().max() > 0.01


def test_polarity_changes_what_a_trained_gate_does():
    model = randomised(polzoo.build(SMALL + "+v2c").eval())
    left, right = pair(1)
    with torch.inference_mode():
        parallel, crossed, none = (model(left, right, polarity=p, iterations=3).disparity for p in (1, -1, 0))
    assert not torch.equal(parallel, crossed)
    assert not torch.equal(parallel, none)


def test_polarization_is_read_from_given_intensities():
    model = randomised(polzoo.build(SMALL + "+v2c").eval())
    left, right = pair(1)
    with torch.inference_mode():
        own = model(left, right, iterations=3).disparity
        same = model(left, right, intensity_left=left, intensity_right=right, iterations=3).disparity
        other = model(left, right, intensity_left=right, intensity_right=left, iterations=3).disparity
    assert torch.equal(own, same)
    assert not torch.equal(own, other)


@pytest.mark.parametrize("shift", [2, 5])
def test_lookup_has_the_sign_of_left_x_matching_right_x_minus_d(shift):
    """A bright left column at x and the same column at x − D on the right cancel at disparity +D, not at −D."""
    left, right = torch.zeros(1, 3, 32, 128), torch.zeros(1, 3, 32, 128)
    left[..., 64:68] = 1
    right[..., 64 - 4 * shift : 68 - 4 * shift] = 1
    pol = PolarizationVolume(Pair(left, right, torch.ones(1), left, right), 4, 1, 0)
    at = lambda d: pol.lookup(torch.full((1, 1, 8, 32), float(d)), EVERYTHING)[0, 0, 0, 16]  # noqa: E731
    assert at(shift) == 0
    assert at(-shift) == 1


def test_alpha_schedules():
    assert [alpha(i, 5, 5, "literal") for i in (0, 2, 4)] == [0.0, 0.5, 1.0]
    assert alpha(0, 1, 1, "literal") == 0.0
    for n in (2, 5, 32):
        assert [alpha(i, n, n, "aligned") for i in range(n)] == pytest.approx(
            [alpha(i, n, n, "literal") for i in range(n)]
        )
    assert alpha(0, 1, 32, "aligned") == 1.0
    assert alpha(0, 1, 1, "aligned") == 1.0
    assert [alpha(i, 2, 32, "aligned") for i in range(2)] == pytest.approx([15 / 31, 1.0])
    assert alpha(0, 3, 8, "aligned") == pytest.approx((8 / 3 - 1) / 7)
    assert alpha(0, 64, 32, "aligned") == 0.0  # more steps than trained: clamped


def test_the_schedule_is_an_option_that_a_call_follows():
    left, right = pair(1)
    literal = randomised(polzoo.build(SMALL + "+v2c(schedule='literal')").eval())
    aligned = polzoo.build(SMALL + "+v2c").eval()
    aligned.load_state_dict(literal.state_dict())
    plain = polzoo.build(SMALL).eval()
    plain.load_state_dict({k: v for k, v in literal.state_dict().items() if not k.startswith("fusion.")})
    with torch.inference_mode():
        at_one = [m(left, right, iterations=1).disparity for m in (plain, literal, aligned)]
    assert torch.equal(at_one[0], at_one[1])  # α = 0: a single literal step never sees polarization
    assert not torch.equal(at_one[0], at_one[2])
