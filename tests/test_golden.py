"""Outputs and gradients of the official codes, recorded with seeded weights (see ../shared/golden)."""

import functools
import json
import runpy

import pytest
import torch
from safetensors.torch import load_file

from polzoo.convert import FAMILIES, convert
from polzoo.updates.sites import EVERYTHING

FAMILY = {"RAFT-Stereo": "raft-stereo"}
CASES = [
    "raft_stereo_texture",
    "raft_stereo_motorcycle",
    "raft_stereo_motorcycle_odd",
    "raft_stereo_alt_motorcycle",
    "raft_stereo_realtime_motorcycle",
    "raft_stereo_warmstart_motorcycle",
    "raft_stereo_instance_motorcycle",
    "raft_stereo_nd3_motorcycle",
    "raft_stereo_1gru_motorcycle",
    "raft_stereo_sf3_motorcycle",
]


@pytest.fixture(scope="session")
def golden(shared):
    """Case name → (its entry in the index, its tensors, the model with its weights)."""
    folder = shared / "golden"
    index = json.loads((folder / "index.json").read_text())
    seeded = runpy.run_path(str(folder / "seeded_weights.py"))

    @functools.cache
    def weights(config: str, seed: int, digest: str):
        shapes = json.loads((folder / "manifests" / f"{config}.json").read_text())["state_dict"]
        filled = seeded["fill_shapes"]({key: shape for key, (shape, _) in shapes.items()}, seed)
        state = {key: torch.from_numpy(value) for key, value in filled.items()}
        assert seeded["digest"](state) == digest, "other weights than the case was recorded with"
        return state

    def case(name: str):
        entry = index[name]
        state = weights(entry["config"], entry["weight_seed"], entry["weights_sha256"])
        model = convert(state, FAMILY[entry["repo"]], entry["args"]).model
        return entry, load_file(folder / f"{name}.safetensors"), model

    return case


def apart(a, b) -> float:
    assert a.shape == b.shape
    return (a - b).abs().max().item()


@pytest.mark.parametrize("name", CASES)
def test_parity(golden, name):
    entry, t, model = golden(name)
    first = -t["flow_init"][:, :1] if "flow_init" in t else None
    with torch.no_grad():
        views, how = (t["image1"] / 255, t["image2"] / 255), {"initial_disparity": first, "all_iterations": "up" in t}
        output = model(*views, iterations=entry["iters"], **how)
    assert apart(output.disparity, t["disparity"]) <= 1e-3
    left, right, top, bottom = entry["pad_left_right_top_bottom"]
    high, wide = t["up_final"].shape[-2:]
    assert apart(output.disparity, -t["up_final"][..., top : high - bottom, left : wide - right]) <= 1e-3
    low = t["low"][-1] if t["low"].ndim == 5 else t["low"]
    assert apart(output.state.disparity, -low[:, :1]) <= 1e-3
    for ours, theirs in zip(output.sequence, t.get("up", ()), strict=True):
        assert apart(ours, -theirs) <= 1e-3


def test_intermediate_tensors(golden):
    entry, t, model = golden("raft_stereo_texture")
    with torch.no_grad():
        prepared = model.prepare(t["image1"] / 255, t["image2"] / 255, iterations=entry["iters"])
        encoding = prepared.encoding
        for i in range(2):
            assert apart(encoding.matching[i], t[f"fmap.{i}"]) <= 1e-4
        for i in range(3):
            assert apart(encoding.hidden[i], t[f"cnet.{2 * i}"].tanh()) <= 1e-4
            assert apart(encoding.context[i], model.backbone.gates[i](t[f"cnet.{2 * i + 1}"].relu())) <= 1e-4
        assert apart(prepared.volume.lookup(prepared.first, EVERYTHING), t["iter1.lookup"]) <= 1e-4
        trace = model.refine(prepared, trace=True).trace
        for i in range(3):
            assert apart(trace[0].hidden[i], t[f"iter1.hidden.{i}"]) <= 1e-4
        assert apart(model.update.mask(trace[0].hidden), t["iter1.mask"]) <= 1e-4
    assert apart(trace[0].delta, -t["iter1.delta"][:, :1]) <= 1e-4
    assert len(trace) == len(t["low"])
    for step, low in zip(trace, t["low"], strict=True):
        assert apart(step.disparity, -low) <= 1e-3
    assert apart(trace[-1].disparity, -t["test_mode_low"][:, :1]) <= 1e-3


def official_gradients(model, family) -> dict[str, torch.Tensor]:
    """Gradients under the official names: folded channels negated back, the y channel's zero put in again."""
    rule = FAMILIES[family]
    sources, folds, out = rule.sources(model), rule.folds(model), {}
    for key, parameter in model.named_parameters():
        grad = parameter.grad
        if key in folds:
            axis, index = folds[key]
            before, x, after = grad.split([index, 1, grad.shape[axis] - index - 1], axis)
            grad = torch.cat([before, -x, torch.zeros_like(x), after], axis)
        out[sources[key].replace(".downsample.1.", ".norm3.")] = grad
    return out


def test_training_step(golden):
    """RAFT-Stereo's sequence loss over four iterations, BatchNorm frozen, and the gradient of every parameter."""
    entry, t, model = golden("train_raft_stereo")
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    sequence = model(t["image1"] / 255, t["image2"] / 255, iterations=entry["iters"], all_iterations=True).sequence
    assert apart(sequence[0], -t["pred_first"]) <= 1e-3
    assert apart(sequence[-1], -t["pred_last"]) <= 1e-3

    truth, n = t["gt_disparity"], entry["iters"]
    valid = (t["valid"][:, None] >= 0.5) & (truth.abs() < 700)
    gamma = 0.9 ** (15 / (n - 1))
    losses = (gamma ** (n - 1 - i) * (d - truth).abs()[valid].mean() for i, d in enumerate(sequence))
    loss = sum(losses, torch.zeros(()))
    loss.backward()
    error = (sequence[-1] - truth).abs()[valid]
    assert abs(loss.item() - entry["loss"]) <= 1e-4 * entry["loss"]
    assert error.mean().item() == pytest.approx(entry["metrics"]["epe"], abs=1e-3)

    ours, total = official_gradients(model, "raft-stereo"), entry["total_grad_norm"]
    assert set(ours) == set(entry["grad_norm"])
    for name, norm in entry["grad_norm"].items():
        assert abs(ours[name].norm().item() - norm) <= 1e-3 * max(norm, 1e-5 * total), name
    for key in t:
        if key.startswith("grad."):
            name = key.removeprefix("grad.")
            # Under the instance norms a ReLU flipped by rounding shows: the recorded gradient is itself 2.8e-3 from the
            # same computation in float64, ours 3.4e-3. Elsewhere both are within 1e-5.
            bar = 6e-3 if name.startswith("fnet.") else 1e-3
            assert (ours[name] - t[key]).norm().item() <= bar * max(entry["grad_norm"][name], 1e-5 * total), name
