"""The training loss against its formula, written out in float64."""

import numpy as np
import torch

from polzoo.recipes.losses import adjusted, first_loss, pixel_weight, sequence_loss

RNG = np.random.default_rng(0)


def batch(b: int = 2, h: int = 6, w: int = 8) -> dict[str, torch.Tensor]:
    def mask(share: float) -> torch.Tensor:
        return torch.from_numpy(RNG.random((b, 1, h, w)) < share)

    return {
        "left": torch.from_numpy(RNG.random((b, 3, h, w), np.float32)),
        "right": torch.from_numpy(RNG.random((b, 3, h, w), np.float32)),
        "polarity": torch.tensor([1.0, -1.0])[:b],
        "disparity": torch.from_numpy(40 * RNG.random((b, 1, h, w), np.float32)),
        "valid": mask(0.8),
        "visible": mask(0.7),
        "glass": mask(0.4),
    }


def oracle_weight(batch, glass_weight, strict_weight, pol_weight, max_disparity):
    n = {k: v.numpy().astype(np.float64) for k, v in batch.items()}
    u, s = n["glass"], n["glass"] * n["visible"]
    out = np.zeros_like(u)
    for i in range(len(u)):
        p = np.abs(n["left"][i] - n["right"][i]).mean(0, keepdims=True) * abs(n["polarity"][i])
        w = 1 + (glass_weight - 1) * u[i] * (1 - s[i]) + (glass_weight - 1 + strict_weight) * s[i]
        w += pol_weight * p / (p.max() + 1e-6)
        out[i] = w * n["valid"][i] * (n["disparity"][i] < max_disparity)
    return out


def test_pixel_weight_follows_the_formula():
    b, options = batch(), {"glass_weight": 5.0, "strict_weight": 0.5, "pol_weight": 2.0, "max_disparity": 30.0}
    np.testing.assert_allclose(pixel_weight(b, **options).numpy(), oracle_weight(b, **options), rtol=1e-5)


def test_pixel_weight_by_hand():
    b = batch(1, 1, 3)
    b |= {
        "valid": torch.ones(1, 1, 1, 3, dtype=torch.bool),
        "right": b["left"].clone(),
        "disparity": torch.ones(1, 1, 1, 3),
    }
    b |= {"glass": torch.tensor([[[[False, True, True]]]]), "visible": torch.tensor([[[[True, False, True]]]])}
    weight = pixel_weight(b, glass_weight=5.0, strict_weight=0.5, pol_weight=2.0, max_disparity=700.0)
    assert weight.flatten().tolist() == [1.0, 5.0, 5.5]


def test_polarization_is_read_from_the_intensities_where_a_sample_has_them():
    b, options = batch(), {"glass_weight": 5.0, "strict_weight": 0.5, "pol_weight": 2.0, "max_disparity": 30.0}
    views = {f"intensity_{side}": batch()[side] for side in ("left", "right")}
    wanted = pixel_weight(b | {side: views[f"intensity_{side}"] for side in ("left", "right")}, **options)
    assert torch.equal(pixel_weight(b | views, **options), wanted)
    assert not torch.equal(wanted, pixel_weight(b, **options))


def test_a_plain_rgb_pair_gets_no_weight_from_view_differences():
    b = batch() | {"polarity": torch.zeros(2)}
    options = {"glass_weight": 5.0, "strict_weight": 0.5, "max_disparity": 700.0}
    assert torch.equal(pixel_weight(b, pol_weight=2.0, **options), pixel_weight(b, pol_weight=0.0, **options))


def test_sequence_loss_follows_the_formula():
    b = batch()
    sequence = [torch.from_numpy(40 * RNG.random((2, 1, 6, 8), np.float32)) for _ in range(4)]
    weight = torch.from_numpy(RNG.random((2, 1, 6, 8), np.float32)) * b["valid"]
    w, truth = weight.double(), b["disparity"].double()
    expected = sum(0.9 ** (3 - i) * (w * (d.double() - truth).abs()).sum() / w.sum() for i, d in enumerate(sequence))
    torch.testing.assert_close(
        sequence_loss(sequence, b["disparity"], weight, 0.9).double(), expected, rtol=1e-5, atol=0
    )


def test_one_iteration_weighs_one():
    truth, weight = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert sequence_loss([torch.full((1, 1, 2, 2), 3.0)], truth, weight) == 3.0


def test_unknown_truth_never_reaches_the_loss():
    truth = torch.tensor([[[[1.0, float("nan"), float("inf")]]]])
    weight = torch.tensor([[[[1.0, 0.0, 0.0]]]])
    d = torch.zeros(1, 1, 1, 3, requires_grad=True)
    sequence_loss([d], truth, weight).backward()
    assert d.grad is not None and torch.isfinite(d.grad).all()


def test_a_batch_without_truth_has_zero_loss_and_no_nan():
    assert sequence_loss([torch.ones(1, 1, 2, 2)], torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)) == 0


def test_first_loss_is_quadratic_below_a_pixel_linear_above_and_blind_where_nothing_is_known():
    first = torch.tensor([[0.5, 3.0, torch.nan, 9.0]]).view(1, 1, 1, 4).nan_to_num(7.0)
    truth = torch.tensor([0.0, 0.0, torch.nan, 9.0]).view(1, 1, 1, 4)
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0]).view(1, 1, 1, 4)
    assert first_loss(first, truth, weight).item() == (1 * 0.125 + 2 * 2.5 + 0) / 4
    assert first_loss(first, truth, 0 * weight).item() == 0


def test_the_decay_is_adjusted_so_that_the_first_iteration_weighs_the_same():
    """RAFT-Stereo: 0.9^(15/(n − 1)), whose (n − 1)th power is that of 16 iterations."""
    for n in (2, 12, 16, 22, 32):
        assert abs(adjusted(0.9, n, 16) ** (n - 1) - 0.9**15) < 1e-12
    assert adjusted(0.9, 1, 16) == adjusted(0.9, 12, None) == 0.9
