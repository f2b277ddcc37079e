"""``polzoo build``."""

import json

import pytest
import torch

import polzoo
from polzoo.cli.app import main
from polzoo.memory import estimate

torch.set_num_threads(1)

TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)+v2c(hidden=8)"


def test_table(capsys):
    assert main(["build", "raft-lite+v2c"]) == 0
    out = capsys.readouterr().out
    total = sum(p.numel() for p in polzoo.build("raft-lite+v2c").parameters())
    for words in (
        f"total       {total:,}",
        "StereoPolVolumeV2C",
        "stride        4",
        "36 channels",
        "320 × 736",
        "gate_hidden=32",
    ):
        assert words in out
    assert "saved" not in out


def test_json_adds_up(capsys):
    assert main(["build", TINY, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    counts = found["parameters"]
    assert counts["total"] == counts["backbone"] + counts["fusion"] + counts["update cell"]
    assert [part["kind"] for part in found["parts"]] == ["backbone", "fusion", "update"]
    assert found["parts"][0]["options"]["width"] == 4
    assert found["lookup"] == {"backbone": 10, "read by the cell": 10}
    assert found["memory"]["activations"] > found["memory"]["weights"] > 0


def test_the_estimate_is_what_a_run_takes():
    from polzoo.memory import LivePeak

    model = polzoo.build(TINY).eval()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    with torch.no_grad():
        pair = torch.rand(2, 1, 3, 64, 96).unbind(0)
        with LivePeak() as peak:
            model(*pair, polarity=torch.ones(1), iterations=2)
    assert estimate(model, 64, 96).activations == pytest.approx(peak.most, rel=0.01)
    assert all(type(x) is torch.Tensor and torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_saves_a_checkpoint_that_loads(tmp_path, capsys):
    for seed in ("3", "3", "4"):
        assert main(["build", TINY, "--save", str(tmp_path / "ck"), "--seed", seed]) == 0
    assert f"saved         {tmp_path / 'ck'}" in capsys.readouterr().out
    torch.manual_seed(4)
    fresh, kept = polzoo.build(TINY), polzoo.load(str(tmp_path / "ck"))
    pairs = zip(fresh.state_dict().values(), kept.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["raft-light"], "did you mean 'raft-lite'"),
        ([""], "empty spec"),
        ([], "Missing argument"),
        ([TINY, "--save", "/dev/null/x"], "cannot write"),
        ([TINY, "--save", "/dev/null"], "is a file"),
    ],
)
def test_bad_input_is_one_line(capsys, arguments, words):
    assert main(["build", *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
