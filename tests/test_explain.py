"""What is recorded is what the model computed; attention is softmax(q·k); a recorder that is off costs nothing."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import polzoo
from polzoo.errors import PolzooError
from polzoo.explain import Records, explain
from polzoo.interfaces import Step
from polzoo.options import toml_text
from polzoo.predict import as_inputs, evaluating
from polzoo.registry import registry
from polzoo.settings import Settings
from polzoo.updates.sites import EVERYTHING

SMALL = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
FUSIONS = [entry.key for entry in registry().entries("fusion") if entry.distribution == "polzoo"]
H, W, STEPS = 72, 90, 3


def build(fusion: str, **options: Any) -> Any:
    """A small model whose zero-initialised layers are not zero."""
    entry = registry().get("fusion", fusion)
    settings = {**getattr(entry.options(), "tiny", {}), **options}
    text = ",".join(f"{key}={toml_text(value)}" for key, value in settings.items())
    torch.manual_seed(0)
    model = polzoo.build(f"{SMALL}+{fusion}" + f"({text})" * bool(text), Settings(iterations=STEPS)).eval()
    for weight in model.fusion.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


@pytest.fixture(scope="module")
def views() -> list[np.ndarray]:
    return list(np.random.default_rng(0).random((2, H, W, 3), dtype=np.float32))


class Count(TorchDispatchMode):
    """Number of operations."""

    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += 1
        return func(*args, **(kwargs or {}))


class Keep(list):
    def record(self, *what: Any) -> None:
        self.append(what)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_recorder_costs_no_operation(fusion, views) -> None:
    """References are handed over and nothing is computed for a recorder."""
    model, counts, kept = build(fusion), [], Keep()
    inputs = as_inputs(model, *views)
    for recorder in (None, kept):
        with evaluating(model), Count() as count:
            model(inputs.left, inputs.right, recorder=recorder, **inputs.call)
        counts.append(count.calls)
    assert counts[0] == counts[1] > 100
    assert all(isinstance(value, torch.Tensor) for _, _, value in kept)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_is_explained_and_nothing_is_changed(fusion, views) -> None:
    model = build(fusion)
    found = explain(model, *views)
    steps = STEPS * model.fusion.passes
    assert found.disparity.shape == (steps, H, W)
    np.testing.assert_array_equal(found.disparity[-1], model.predict(*views))
    grid = found.steps["delta"].shape[1:]
    assert grid == (96 // found.stride, 96 // found.stride) and found.crop == (3, 3, 12, 12)
    np.testing.assert_allclose(
        np.cumsum(found.steps["delta"], 0), found.steps["disparity"], atol=1e-4 * max(1, np.abs(found.disparity).max())
    )
    with np.load(io.BytesIO(found.npz())) as file:
        arrays = dict(file)
    expected = {"disparity": (H, W), "alpha": (steps,), "stride": (), "crop": (4,)}
    expected |= {f"steps.{name}": (steps, *grid) for name in found.steps}
    assert {name: arrays[name].shape for name in expected} == expected
    for name, array in arrays.items():
        exact = name in ("disparity", "alpha", "steps.disparity", "steps.delta") or name.startswith("attention")
        wanted = "f4" if exact else "f2" if name.startswith(("steps", "outside")) else "i8"
        assert array.dtype == ("i8" if name == "attention.points" else wanted), name
    rest = {name for name in arrays if not name.startswith(("outside.", "attention.")) and name not in expected}
    assert not rest


def test_gate_and_residual_are_what_the_fusion_computed(views) -> None:
    model = build("v2c")
    found, inputs = explain(model, *views, iterations=4), as_inputs(model, *views, iterations=4)
    assert found.recorded == ["gate", "residual"] and not found.outside
    np.testing.assert_allclose(found.alpha, [0, 1 / 3, 2 / 3, 1], atol=1e-6)
    with torch.no_grad():
        prepared = model.prepare(inputs.left, inputs.right, **inputs.call)
        for i in range(4):
            before = torch.tensor(found.steps["disparity"][i - 1] / found.stride if i else 0 * found.steps["delta"][0])
            raw = prepared.volume.lookup(before[None, None], EVERYTHING)
            step = Step(0, i, 4, float(found.alpha[i]))
            added = model.fusion.modulate_lookup(raw, prepared.pol, before[None, None], step, EVERYTHING) - raw
            strength = added.abs().mean(1)[0].numpy()
            np.testing.assert_allclose(found.steps["residual"][i], strength, atol=1e-5 * max(1, strength.max()))
    assert found.steps["residual"][0].max() == 0 < found.steps["residual"][1].max()
    assert 0 < found.steps["gate"].min() < found.steps["gate"].max() < 1


@pytest.mark.parametrize(("fusion", "weighed"), [("v2a", False), ("v2b", True)])
def test_alpha_is_shown_where_there_is_a_schedule(fusion, weighed, views) -> None:
    found = explain(build(fusion), *views)
    assert np.isnan(found.alpha).all() != weighed and np.isfinite(found.alpha).all() == weighed
    assert (found.steps["residual"][0].max() == 0) == weighed


@pytest.mark.parametrize("use_mask", [False, True])
@pytest.mark.parametrize("pool", [1, 3, 50])
def test_attention_is_the_softmax_of_query_and_key(pool, use_mask, views, monkeypatch) -> None:
    monkeypatch.setattr("polzoo.explain.CHUNK", 100)
    model, points = build("crossattn", pool=pool, use_mask=use_mask), [(0, 0), (41, 33), (W - 1, H - 1)]
    kept = Keep()
    inputs = as_inputs(model, *views)
    with torch.no_grad():
        model.prepare(inputs.left, inputs.right, recorder=kept, **inputs.call)
    record = {name: value for _, name, value in reversed(kept)}
    query, key = record["query"][0], record["key"][0]
    scores = torch.einsum("hqd,hkd->hqk", query, key) / query.shape[-1] ** 0.5
    if use_mask:
        scores = scores.where(record["mask"][0], torch.tensor(-1e9))
        assert pool > 1 or 0 < record["mask"][0].sum() < key.shape[1]
    whole = scores.softmax(-1).mean(0)
    found = explain(model, *views, points=points)
    assert found.attention is not None and found.outside.keys() == {"gate", "alpha"}
    side = max(1, 24 // pool)
    assert found.attention.mean.shape == (side, side)
    np.testing.assert_allclose(found.attention.mean, whole.mean(0).view(side, side), atol=1e-6)
    np.testing.assert_array_equal(found.attention.points, points)
    for (x, y), one in zip(points, found.attention.maps, strict=True):
        row = whole[(y + 12) // 4 * 24 + (x + 3) // 4]
        np.testing.assert_allclose(one, row.view(side, side), atol=1e-6)
        assert one.sum() == pytest.approx(1, abs=1e-5)


def test_attention_is_what_the_model_attended_by(views) -> None:
    """Values mixed by the recorded attention are the module's own output."""
    model, kept = build("crossattn", heads=1, pool=3), Keep()
    attention = model.fusion.fuse.attention
    stereo, source = torch.randn(1, 8, 9, 11), torch.randn(1, 4, 9, 11)
    with torch.no_grad():
        call = model.prepare(*torch.rand(2, 1, 3, 64, 64), recorder=kept).call
        kept.clear()
        wanted = attention(stereo, source, None, call)
        query, key = (value for _, _, value in kept)
        values = attention.v(torch.nn.functional.adaptive_avg_pool2d(source, (3, 3))).flatten(-2).transpose(-1, -2)
        mixed = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1) @ values[:, None]
        torch.testing.assert_close(attention.out(mixed[:, 0].transpose(-1, -2).unflatten(-1, (9, 11))), wanted)


def test_the_points_are_where_polarization_differs_and_the_centre() -> None:
    left = np.full((64, 96, 3), 0.2, np.float32)
    right = left.copy()
    left[8:20, 60:72] = 0.9
    found = explain(build("crossattn"), left, right)
    assert found.attention is not None
    centre, brightest, *_ = found.attention.points.tolist()
    assert centre == [48, 32] and 60 <= brightest[0] < 72 and 8 <= brightest[1] < 20
    plain = explain(build("crossattn"), left, right, polarity="none")
    assert plain.attention is not None and plain.attention.points.tolist() == [[48, 32]]


def test_what_cannot_be_shown_is_refused(views) -> None:
    for point in ((W, 0), (0, H), (-1, 3)):
        with pytest.raises(PolzooError, match=rf"the point {point[0]},{point[1]} is outside the left view.*90×72"):
            explain(build("crossattn"), *views, points=[point])
    with pytest.raises(PolzooError, match="the fusion 'v2c' has no attention"):
        explain(build("v2c"), *views, points=[(1, 1)])
    with pytest.raises(PolzooError, match="whole number"):
        explain(build("none"), *views, iterations=0)


def test_rows_of_a_sparse_execution_and_single_steps_are_no_trouble(views) -> None:
    records, step = Records(), Step(1, 0, 2, 1.0)
    records.record(step, "gate", object())
    records.record(step, "residual", torch.tensor([-1.0, 3.0]).view(1, 2, 1, 1))
    records.record(None, "first", torch.zeros(()))
    records.record(None, "first", torch.ones(()))
    assert records.steps == {(1, 0): {"residual": torch.tensor([[2.0]])}} and records.outside["first"] == 0
    assert explain(build("v2c"), *views, iterations=1).alpha.tolist() == [1.0]
