"""A recipe's ``augment``: what it trains on is a function of seed and step alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polzoo.errors import PolzooError
from polzoo.recipes import config
from polzoo.recipes.engine import train

RECIPE = """
name = "tiny"
model = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=8,corr_levels=2,corr_radius=2)"
data = "synthetic(seed=3, length=5, height=48, width=80, max_disparity=12)"
augment = { crop = [32, 64], scale = [0.8, 1.2], flip = 0.5, upside_down = 0.5, brightness = 0.3, erase = 0.5 }
iterations = 2
steps = 4
batch_size = 2
workers = 0
log_every = 1
save_every = 3
pictures_every = 0
"""


def read(folder: Path, text: str = RECIPE) -> config.TrainingConfig:
    path = folder / "tiny.toml"
    path.write_text(text)
    return config.read(path)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_stopped_run_goes_on_to_the_same_losses(tmp_path: Path) -> None:
    recipe = read(tmp_path)
    train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "halves", stop_after=2)
    written = train(recipe, tmp_path / "halves", resume=True)
    assert losses(tmp_path / "whole") == losses(tmp_path / "halves")
    train(recipe.model_copy(update={"augment": None}), tmp_path / "plain", stop_after=1)
    assert losses(tmp_path / "plain") != losses(tmp_path / "whole")[:1]
    assert config.read(written / "recipe.toml").augment == recipe.augment


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("flip = 0.5", "flipp = 0.5", "augment.flipp: there is no such key; did you mean 'augment.flip'?"),
        ("scale = [0.8, 1.2]", "scale = [2.0, 1.2]", "scale runs from the least to the most, not from 2 to 1.2"),
        ("crop = [32, 64]", "crop = [32]", "augment.crop"),
    ],
)
def test_mistakes(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(PolzooError) as error:
        read(tmp_path, RECIPE.replace(old, new))
    assert words in str(error.value)
