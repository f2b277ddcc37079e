"""Official checkpoints: strict, explained, and never executed."""

import pickle
import re
import runpy
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from polzoo.convert import convert, from_official, read_pth
from polzoo.errors import PolzooError

reference = runpy.run_path(str(Path(__file__).parent / "backbones" / "reference_raft.py"))
igev = runpy.run_path(str(Path(__file__).parent / "backbones" / "reference_igev.py"))

ARGS = reference["SMALL"]
IGEV = {
    "hidden_dims": [32, 32, 32],
    "corr_levels": 2,
    "corr_radius": 4,
    "n_downsample": 2,
    "n_gru_layers": 3,
    "max_disp": 192,
    "slow_fast_gru": False,
}
RAFT = {"hidden_dim": 128, "corr_levels": 4, "corr_radius": 4, "n_downsample": 2, "n_gru_layers": 3}
OTHERS = {"selective-igev": IGEV, "igev-stereo": IGEV, "selective-raft": RAFT}
REALTIME = ARGS | {"shared_backbone": True, "n_downsample": 3, "n_gru_layers": 2, "slow_fast_gru": True}


@pytest.fixture(scope="module")
def state():
    return reference["random_state"](ARGS, 0)


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_folds_the_sign_and_drops_y(state):
    conversion = convert(state, args=ARGS)
    model = conversion.model
    ours = model.state_dict()
    assert torch.equal(ours["update.disparity.0.weight"], -state["update_block.encoder.convf1.weight"][:, :1])
    assert torch.equal(ours["update.delta.2.weight"], -state["update_block.flow_head.conv2.weight"][:1])
    assert torch.equal(ours["update.delta.2.bias"], -state["update_block.flow_head.conv2.bias"][:1])
    gate = state["update_block.gru08.convq.weight"]
    folded = torch.cat([gate[:, : 32 + 126], -gate[:, 32 + 126 : 32 + 127], gate[:, 32 + 128 :]], 1)
    assert torch.equal(ours["update.grus.0.convq.weight"], folded)
    assert torch.equal(ours["update.grus.1.convz.weight"], state["update_block.gru16.convz.weight"])
    assert not model.training
    assert model.settings.iterations == 32
    assert str(model.spec) == "raft(hidden_dims=[32,32,32])+none+dense"


def test_every_official_key_is_used_once_or_dropped(state):
    conversion = convert(state, args=ARGS)
    assert all(".norm3." in key for key in conversion.dropped)
    assert len(conversion.dropped) + len(conversion.model.state_dict()) == len(state)


def test_data_parallel_prefix(state):
    wrapped = {f"module.{key}": value for key, value in state.items()}
    assert same(from_official(wrapped, "raft-stereo", ARGS), from_official(state, "raft-stereo", ARGS))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"context_norm": "instance"},
        {"context_norm": "group", "n_downsample": 3},
        {"n_gru_layers": 1, "corr_levels": 2, "corr_radius": 3},
        {"shared_backbone": True, "n_downsample": 3, "n_gru_layers": 2},
    ],
)
def test_arguments_are_read_from_the_weights(changes):
    args = ARGS | changes
    state = reference["random_state"](args, 1)
    conversion = convert(state)
    assert conversion.model.spec == from_official(state, args=args).spec
    assert any("slow_fast_gru=False" in line for line in conversion.assumed)
    assert any("'none'" in line for line in conversion.assumed) == (changes.get("context_norm") == "instance")


def test_unused_levels_are_dropped():
    dropped = convert(reference["random_state"](REALTIME, 0), args=REALTIME).dropped
    assert {"update_block.gru32.convz.weight", "cnet.outputs32.0.bias", "cnet.layer5.0.conv1.weight"} <= set(dropped)
    assert not any("16" in key or "layer4.0.conv" in key for key in dropped)


def test_wrong_keys_are_listed_together(state):
    broken = dict(state)
    del broken["fnet.conv2.bias"]
    broken["fnet.conv9.bias"] = torch.zeros(3)
    broken["update_block.flow_head.conv2.weight"] = torch.zeros(1, 256, 3, 3)
    with pytest.raises(PolzooError) as caught:
        from_official(broken, args=ARGS)
    message = str(caught.value)
    assert "missing: fnet.conv2.bias" in message
    assert "unexpected: fnet.conv9.bias" in message
    assert "misshapen: update_block.flow_head.conv2.weight (1, 256, 3, 3), not (2, 256, 3, 3)" in message
    assert "\n" not in message and "looks like" not in message


def test_hint_names_the_configuration():
    state = reference["random_state"](REALTIME, 0)
    with pytest.raises(PolzooError, match=r"It looks like n_gru_layers=2, n_downsample=3, shared_backbone=True$"):
        from_official(state, args=ARGS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"args": ARGS | {"n_gru_layer": 2}}, "unknown argument 'n_gru_layer'; did you mean 'n_gru_layers'"),
        ({"args": ARGS | {"n_downsample": 5}}, "downsample"),
        ({"args": ARGS, "family": "selective-raft"}, "they look like raft-stereo; give family='raft-stereo'"),
        ({"family": "raft-stere"}, "unknown family of checkpoints 'raft-stere'; did you mean 'raft-stereo'"),
    ],
)
def test_wrong_calls(state, call, message):
    with pytest.raises(PolzooError, match=message):
        from_official(state, **call)


@pytest.fixture(scope="module")
def others():
    return {family: igev["random_state"](family, args, 0) for family, args in OTHERS.items()}


@pytest.mark.parametrize("family", OTHERS)
@pytest.mark.parametrize("changes", [{}, {"n_gru_layers": 2}, {"n_gru_layers": 1, "corr_levels": 3}])
def test_other_families(family, changes):
    """Every key is used once or dropped, wrapped or not; the arguments are read from the weights."""
    args = OTHERS[family] | changes
    state = igev["random_state"](family, args, 1)
    wrapped = convert({f"module.{key}": value for key, value in state.items()}, family)
    conversion = convert(state, family, args)
    model = conversion.model
    assert same(model, wrapped.model) and model.spec == wrapped.model.spec
    assert len(conversion.dropped) + len(model.state_dict()) == len(state)
    level = {3: "$^", 2: "layer5|outputs(16|32)|gru16", 1: r"layer[45]|outputs(08|16|32)\.\d|gru(08|16)"}
    unused = rf"(cnet|update_block)\.({level[args['n_gru_layers']]})|.*\.norm3\.|cost_agg\.conv1_up\.bn\."
    assert all(re.match(unused, key) for key in conversion.dropped if "outputs08" not in key)
    assert any("max_disp=192" in line for line in wrapped.assumed) == (family != "selective-raft")
    assert not model.training and model.settings.iterations == 32
    cell = "conv" if family == "igev-stereo" else "selective"
    assert (
        f'cell="{cell}"' in str(model.spec) or cell == {"igev": "selective", "raft": "conv"}[model.spec.backbone.name]
    )
    assert len(model.backbone.host.hidden_dims) == args["n_gru_layers"]


def test_context_goes_last_and_signs_are_folded(others):
    for family, hidden, sign in (("selective-igev", 32, 1), ("selective-raft", 128, -1)):
        state, ours = others[family], from_official(others[family], family).state_dict()
        gate = state["update_block.gru04.large_gru.convr.weight"]
        h, c, motion, d, coarser = gate.split([hidden, hidden, 127, 1, hidden], 1)
        assert torch.equal(ours["update.grus.0.large.convr.weight"], torch.cat([h, motion, sign * d, coarser, c], 1))
        h, c, finer = state["update_block.gru16.small_gru.convq.weight"].split([hidden] * 3, 1)
        assert torch.equal(ours["update.grus.2.small.convq.weight"], torch.cat([h, finer, c], 1))
        assert torch.equal(ours["update.delta.2.bias"], sign * state["update_block.disp_head.conv2.bias"])


@pytest.mark.parametrize("family", OTHERS)
def test_another_family_is_named(others, family):
    for wrong in {"raft-stereo", *OTHERS} - {family}:
        for args in (None, {}):
            with pytest.raises(
                PolzooError, match=f"no {wrong}: they look like {family}; give family='{family}'"
            ) as caught:
                from_official(others[family], wrong, args)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (IGEV | {"n_gru_layers": 2}, r"misshapen: update_block.gru08.small.*It looks like n_gru_layers=3$"),
        (IGEV | {"corr_radius": 3}, r"misshapen: update_block.encoder.convc1.weight \(.*It looks like corr_radius=4$"),
        (IGEV | {"n_downsample": 3}, "n_downsample=3 does not run in the official code; it must be 2"),
        (IGEV | {"max_disp": 100}, "max_disp=100 should be a multiple of 32"),
        (IGEV | {"max_dips": 96}, "unknown argument 'max_dips'; did you mean 'max_disp'"),
    ],
)
def test_another_configuration_is_named(others, args, message):
    with pytest.raises(PolzooError, match=message) as caught:
        from_official(others["selective-igev"], "selective-igev", args)
    assert "\n" not in str(caught.value)


def test_no_raft_at_all():
    with pytest.raises(PolzooError, match="no raft-stereo"):
        from_official({"layer.weight": torch.zeros(2, 2)})
    with pytest.raises(PolzooError, match=r"missing: .*unexpected: layer\.weight"):
        from_official({"layer.weight": torch.zeros(2, 2)}, args=ARGS)


def test_reads_pth_and_safetensors(state, tmp_path):
    torch.save(state, tmp_path / "a.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, tmp_path / "b.pth")
    save_file(state, tmp_path / "c.safetensors")
    models = [from_official(read_pth(path), args=ARGS) for path in sorted(tmp_path.iterdir())]
    assert same(models[0], models[1]) and same(models[0], models[2])


def test_command_names_the_family(tmp_path, capsys, others):
    from polzoo.cli.app import main

    save_file(others["igev-stereo"], tmp_path / "sceneflow.safetensors")
    assert main(["convert", str(tmp_path / "sceneflow.safetensors"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "give family='igev-stereo'" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("bomb-went-off"),)


def test_a_pickle_is_never_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"fnet.conv1.weight": Bomb()}, "zip.pth")
    Path("plain.pth").write_bytes(pickle.dumps({"a": Bomb()}, protocol=2))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(PolzooError, match="not opened, because a pickle can run code"):
            read_pth(name)
    assert not Path("bomb-went-off").exists()


def test_damaged_files(state, tmp_path):
    torch.save(state, tmp_path / "whole.pth")
    save_file(state, tmp_path / "whole.safetensors")
    cases = {
        "empty.pth": b"",
        "text.pth": b"hello world",
        "cut.pth": (tmp_path / "whole.pth").read_bytes()[:9000],
        "cut.safetensors": (tmp_path / "whole.safetensors").read_bytes()[:9000],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PolzooError, match=name) as caught:
            read_pth(tmp_path / name)
        assert "\n" not in str(caught.value)
    for value in (torch.zeros(3), [1, 2], {}, {"a": 1}, {1: torch.zeros(1)}):
        torch.save(value, tmp_path / "other.pth")
        with pytest.raises(PolzooError, match="holds no state dict"):
            read_pth(tmp_path / "other.pth")
    for path in (tmp_path, tmp_path / "absent.pth"):
        with pytest.raises(PolzooError, match="is not a file"):
            read_pth(path)


def test_command(tmp_path, monkeypatch):
    checkpoint = pytest.importorskip("polzoo.checkpoint")
    from polzoo.cli.convert import command

    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda model, out, **rest: saved.append((model, out, rest)))
    torch.save(reference["random_state"](REALTIME, 0), tmp_path / "realtime.pth")
    pairs = ["slow_fast_gru=true", "hidden_dims=[32,32,32]", "n_gru_layers=2", "shared_backbone=True", "n_downsample=3"]
    options = [word for pair in pairs for word in ("--arg", pair)]
    result = CliRunner().invoke(command, [str(tmp_path / "realtime.pth"), *options, "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "slow_fast=true" in result.output
    assert "dropped     update_block.gru32.convz.weight" in result.output
    (model, out, rest), *_ = saved
    assert out == tmp_path / "out" and rest["provenance"] == {"note": "converted from realtime.pth (raft-stereo)"}
    assert model.backbone.options.shared_backbone
