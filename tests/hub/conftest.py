"""The installed huggingface_hub, pointed at a Hub on 127.0.0.1, with a cache and a token of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

import polzoo
from polzoo import checkpoint
from polzoo.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))

from loopback import WRITER, LoopbackHub

SMALL = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A running Hub without repositories; waiting before a retry takes no time."""
    impatient = SimpleNamespace(**{**vars(time), "sleep": lambda _: None})
    for module in ("utils._http", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", impatient)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", WRITER)
    huggingface_hub.utils.disable_progress_bars()
    with LoopbackHub() as found:
        monkeypatch.setattr(constants, "ENDPOINT", found.endpoint)
        template = found.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield found
        huggingface_hub.close_session()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint folder; nobody may write into it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = polzoo.build(SMALL, Settings(iterations=2))
    recipe = {"name": "small", "model": SMALL, "data": "synthetic"}
    return checkpoint.save(model, tmp_path_factory.mktemp("hub") / "small", summary="A small model", recipe=recipe)


@pytest.fixture
def files(folder: Path) -> dict[str, bytes]:
    """The folder's files as bytes, to be pushed by someone else."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}
