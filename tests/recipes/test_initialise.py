"""Starting from other weights: what every tensor is, and that the first prediction is the source's."""

import runpy
from pathlib import Path

import pytest
import torch

import polzoo
from polzoo import checkpoint
from polzoo.cli.app import main
from polzoo.data.formats import write_disparity, write_image
from polzoo.errors import PolzooError
from polzoo.recipes.config import Init
from polzoo.recipes.initialise import start_from

reference = runpy.run_path(str(Path(__file__).parents[1] / "backbones" / "reference_raft.py"))

PLAIN = {
    "raft-lite": "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)",
    "raft": "raft(hidden_dims=[8,8,8],feature_dim=8,width=4,corr_levels=2,corr_radius=2)",
}
FUSIONS = {
    "v2c": "v2c(hidden=8,gate_hidden=4)",
    "v1": "v1(pol_levels=2,pol_radius=2)",
    "crossattn": "crossattn(pol_width=4,pol_dim=4,attention_dim=4,heads=2)",
    "crossattn without its last layer": "crossattn(pol_width=4,pol_dim=4,attention_dim=4,heads=2,final_fusion=false)",
    "v2": "v2",
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    torch.manual_seed(0)
    return {name: checkpoint.save(polzoo.build(spec), root / name) for name, spec in PLAIN.items()}


def pair() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(1, 3, 48, 64, generator=generator) for _ in range(2)]


def started(sources, backbone: str, fusion: str, **how):
    model = polzoo.build(f"{PLAIN[backbone]}+{FUSIONS[fusion]}")
    start = start_from(model, str(sources[backbone]), Init.model_validate({"from": str(sources[backbone]), **how}))
    before, now = (m.eval()(*pair(), iterations=3).disparity for m in (polzoo.load(str(sources[backbone])), model))
    return start, before, now


@pytest.mark.parametrize("backbone", PLAIN)
@pytest.mark.parametrize("fusion", ["v2c", "crossattn without its last layer"])
def test_a_fusion_that_starts_as_nothing_changes_nothing(sources, backbone, fusion):
    start, before, now = started(sources, backbone, fusion, new=("fusion.*",))
    assert torch.equal(before, now)
    assert start.new and all(name.startswith("fusion.") for name in start.new) and not start.widened
    assert set(start.taken) == polzoo.load(str(sources[backbone])).state_dict().keys()


@pytest.mark.parametrize("backbone", PLAIN)
def test_v1_widens_with_zeros_and_starts_as_the_plain_model(sources, backbone):
    start, before, now = started(sources, backbone, "v1", widen="zero")
    assert torch.allclose(before, now, atol=1e-4)  # a wider sum is added up in another order
    ((name, (old, new)),) = start.widened.items()
    assert name in ("update.encoder.0.weight", "update.cost.0.weight") and new[1] - old[1] == 10 and not start.new


def test_the_new_columns_are_zero_and_get_gradients(sources):
    model = polzoo.build(f"{PLAIN['raft-lite']}+{FUSIONS['v1']}")
    start_from(model, str(sources["raft-lite"]), Init.model_validate({"from": "x", "widen": "zero"}))
    model(*pair(), iterations=2).disparity.sum().backward()
    weight = model.get_parameter("update.encoder.0.weight")
    assert not weight[:, 10:20].any() and weight[:, :10].any() and weight[:, 20:].any()
    assert weight.grad is not None and weight.grad[:, 10:20].any()


def test_the_layer_that_changes_the_model_is_listed(sources):
    start, before, now = started(sources, "raft-lite", "crossattn", new=("fusion.*",))
    assert not torch.allclose(before, now)
    assert any(line.startswith("new      fusion.fuse.final.0.weight") for line in start.lines())
    assert len(start.lines()) == len(start.taken) + len(start.new)
    assert f"{len(start.new)} new (fusion.encoder" in start.summary()


def test_v2_reads_other_channels_so_its_first_convolution_is_new(sources):
    start, *_ = started(sources, "raft-lite", "v2", new=("fusion.*", "update.encoder.0.*"))
    assert "update.encoder.0.weight" in start.new


@pytest.mark.parametrize(
    ("model", "how", "message"),
    [
        ("raft-lite+v2c", {}, r'missing \(fusion.*To start them fresh: new = \["fusion.\*"\]'),
        ("raft-lite+v1", {}, r'1 misshapen \(update.encoder.0.weight .*To let the inputs grow: widen = "zero"'),
        ("raft-lite+v2c", {"new": ("fussion.*",)}, r"'fussion.\*' matches nothing.*did you mean 'fusion.\*'"),
        ("raft+none", {}, "missing .*left over"),
        ("raft-lite(wide)", {"widen": "zero"}, "misshapen"),
    ],
)
def test_anything_else_is_an_error(sources, model, how, message):
    backbone, _, fusion = model.partition("+")
    spec = PLAIN[backbone] if backbone in PLAIN else PLAIN["raft-lite"].replace("width=4", "width=8")
    spec += f"+{FUSIONS[fusion]}" if fusion in FUSIONS else ""
    with pytest.raises(PolzooError, match=message) as error:
        start_from(polzoo.build(spec), str(sources["raft-lite"]), Init.model_validate({"from": "x", **how}))
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------- a researcher's whole walk

OFFICIAL = {**reference["SMALL"], "n_gru_layers": 1}
FINETUNE = """
base = "supervised-official"
name = "mine"
model = "raft(gru_levels=1, hidden_dims=[32, 32, 32])+v2c(hidden=8, gate_hidden=4)"
data = 'folder(path="pairs", analysers="parallel-crossed")'
init = { from = "./official", new = ["fusion.*"] }
steps = 2
iterations = 1
batch_size = 1
precision = "no"
workers = 0
"""


@pytest.mark.slow
def test_from_official_weights_to_a_fine_tuned_model(tmp_path, monkeypatch, capsys):
    """polzoo convert → a recipe with ``init`` and v2c → polzoo train on a folder → polzoo predict."""
    monkeypatch.chdir(tmp_path)
    torch.save({f"module.{k}": v for k, v in reference["random_state"](OFFICIAL, 0).items()}, "official.pth")
    for index in range(2):
        for side, view in zip(("left", "right"), pair(), strict=True):
            write_image(f"pairs/{side}/{index}.png", (view[0].permute(1, 2, 0) * 255).byte().numpy())
        write_disparity(f"pairs/disparity/{index}.pfm", torch.full((48, 64), 3.0).numpy())
    Path("mine.toml").write_text(FINETUNE)

    assert main(["convert", "official.pth", "--out", "official"]) == 0
    capsys.readouterr()
    assert main(["train", "mine.toml", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "step 0      differs from ./official by 0 px at most" in said
    assert "  new      fusion.gate" in said and "  taken    backbone.fnet" in said
    assert main(["train", "mine.toml"]) == 0
    assert Path("runs/mine/init.txt").read_text().startswith("from ./official\ntaken    backbone.")
    assert main(["predict", "pairs/left/0.png", "pairs/right/0.png", "--model", "runs/mine/checkpoint"]) == 0
    assert Path("polzoo-output/0-disparity.pfm").is_file()
    assert polzoo.load("runs/mine/checkpoint").settings.iterations == 1
