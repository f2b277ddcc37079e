"""What a dry run says is what the run does: what is saved, what is let go when, which part of a chain is meant."""

from pathlib import Path

import pytest
import torch

import polzoo
from polzoo import checkpoint
from polzoo.cli.app import main
from polzoo.errors import PolzooError
from polzoo.recipes.chain import prune
from polzoo.recipes.config import TrainingConfig, read, write
from polzoo.recipes.dry_run import dry_run
from polzoo.recipes.engine import train
from polzoo.settings import Settings


@pytest.fixture
def model(small, tmp_path) -> str:
    """The small recipe's model ``x-i4``, with 4 iterations and random weights."""
    torch.manual_seed(0)
    made = polzoo.build(small().model, Settings(iterations=4, schedule_steps=4))
    checkpoint.save(made, tmp_path / "x-i4")
    return f"dir:{tmp_path / 'x-i4'}"


@pytest.fixture
def pip(small, model):
    """``pip(steps=3)``: the small recipe as one stage of pruning, from 4 iterations to 2."""
    return lambda **changes: small(**{"recipe": "pip", "teacher": model, "options": {}, **changes})


def said(config: TrainingConfig) -> dict[str, str]:
    return {key: rest for key, rest in (line.split(maxsplit=1) for line in dry_run(config))}


@pytest.mark.parametrize("ema", [None, 0.9])
def test_the_state_is_as_large_as_what_is_saved(pip, tmp_path, ema):
    """Under ``pip`` only the cell is trained, and all weights are saved."""
    config = pip(ema=ema, steps=3, save_every=3)
    train(config, tmp_path / "run")
    (folder,) = (tmp_path / "run" / "state").iterdir()
    saved = sum(tensor_bytes(part) for part in folder.glob("*.safetensors"))
    assert said(config)["state"].startswith(f"{saved / 2**20:,.1f} MiB on disk, two of them kept: weights, optimiser")
    assert ("average" in said(config)["state"]) == (ema is not None)


def tensor_bytes(part: Path) -> int:
    """Bytes of the tensors in a file of safetensors: all but its header, whose length its first 8 bytes hold."""
    content = part.read_bytes()
    return len(content) - 8 - int.from_bytes(content[:8], "little")


def test_what_a_recipe_freezes_cannot_be_thawed(pip, small):
    with pytest.raises(
        PolzooError, match=r"thaw: the recipe 'pip' never trains 'backbone.\*', only of update.\*; leave"
    ):
        list(dry_run(pip(thaw={"backbone.*": 0.5})))
    with pytest.raises(PolzooError, match=r"'supervised' with freeze = \['backbone.\*'\] never trains 'backbone.c"):
        list(dry_run(small(freeze=["backbone.*"], thaw={"backbone.cnet.*": 0.5})))
    assert "update.* from step 4" in said(pip(thaw={"update.*": 0.5}))["parameters"]  # after 3 of 6 steps


# ------------------------------------------------------------------------------------------------------------ chains


def test_a_dry_run_of_a_chain_names_every_stage(small_file, model, tmp_path, capsys):
    chain = ["--set", "recipe=pip", "--set", "options={}", "--set", f"model={model}", "--set", "stages=[2,1]"]
    plain = small_file.with_name("chain.toml")
    plain.write_text(small_file.read_text().replace("iterations = 2\n", "").replace("options = { lr = 1e-3 }\n", ""))
    out = tmp_path / "run"

    def report(*more: str) -> list[str]:
        assert main(["train", str(plain), *chain, "--out", str(out), "--dry-run", *more]) == 0
        return capsys.readouterr().out.splitlines()

    assert report()[:3] == [
        "chain       2 stages; what follows is of x-p1 alone",
        "stage 1     x-p1: 2 iterations, 6 steps",
        "stage 2     x: 1 iteration, 6 steps",
    ]
    assert main(["train", str(plain), *chain, "--out", str(out), "--stop-after", "6"]) == 0
    capsys.readouterr()
    lines = report("--resume")
    assert lines[0].endswith("what follows is of x alone") and lines[1].endswith("6 steps, finished")
    assert "recipe      pip, 6 steps, 1 iterations" in lines


def test_stages_and_iterations_contradict_each_other(small, model):
    with pytest.raises(PolzooError, match=r"stages = \[2, 1\] are a chain's iterations: leave out iterations = 7, or"):
        small(recipe="pip", options={}, model=model, stages=[2, 1], iterations=7)


def test_a_resolved_chain_can_be_read_again_and_gone_on_with(model, tmp_path):
    """Also one that was noted with the default of ``iterations`` in it."""
    data = "synthetic(seed=3, length=4, height=32, width=32, max_disparity=12)"
    config = TrainingConfig(
        name="x", recipe="pip", model=model, data=data, stages=(2, 1), steps=2, batch_size=1, workers=0
    )
    out = tmp_path / "run"
    prune(config, out, stop_after=1)
    note = out / "recipe.toml"
    assert "iterations" not in note.read_text() and read(note).stages == (2, 1)
    assert write(read(note)).count("stages") == 1
    note.write_text("iterations = 12\n" + note.read_text())
    assert prune(config, out, resume=True, stop_after=3).parent.name == "p2"
