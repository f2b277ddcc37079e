"""A recipe so small that a step of it takes milliseconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polzoo.recipes import config
from polzoo.recipes.inherit import settings

RECIPE = """
name = "small"
model = "raft-lite(hidden_dim=4,context_dim=4,feature_dim=4,width=4,corr_levels=1,corr_radius=1)"
data = "synthetic(seed=3, length=12, height=32, width=32, max_disparity=12)"
iterations = 2
steps = 6
batch_size = 2
workers = 0
log_every = 1
save_every = 2
pictures_every = 0
options = { lr = 1e-3 }
"""

Small = Callable[..., config.TrainingConfig]


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def small(small_file: Path) -> Small:
    """``small("steps=3", ema=0.9)``: the small recipe with some keys changed, as ``--set`` or by value."""

    def make(*pairs: str, **changes: Any) -> config.TrainingConfig:
        return config.read(small_file, {**settings(pairs), **changes})

    return make
