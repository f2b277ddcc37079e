"""Every shipped checkpoint, and every kind that may be shipped, goes to the loop-back Hub and comes back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

import polzoo
from polzoo import cards, checkpoint
from polzoo import hub as hubs
from polzoo.config import Base, Target, config_text, read_alias, read_config
from polzoo.errors import PolzooError
from polzoo.publish import prepare

pytestmark = pytest.mark.filterwarnings("ignore:Use .content")  # the client's own use of its HTTP library

SHELF = ("x", "x-p1", "x-flash", "x-p1-flash")


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What :data:`SHELF` names: a base, a delta of it, and an alias of each."""
    root = tmp_path_factory.mktemp("shelf")
    shutil.copytree(folder, root / "x")
    model = polzoo.load(str(folder))
    next(model.update.parameters()).data.add_(0.25)
    checkpoint.save(model, root / "x-p1", base=f"dir:{root / 'x'}")
    for name in ("x", "x-p1"):
        checkpoint.save_alias(root / f"{name}-flash", f"dir:{root / name}", "flashgru(density=0.5)")
    return root


@pytest.fixture
def shelf(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same as published models, in place of the shipped ones."""
    monkeypatch.setattr("polzoo.cards.folders", lambda: {name: made / name for name in SHELF})
    return made


def there_and_back(hub, name: str) -> None:
    sent = prepare(name, f"org/{name}")
    hubs.publish(sent, f"org/{name}")
    up = {file: blob.data for file, blob in hub.repos[f"org/{name}"].head.items() if file != ".gitattributes"}
    assert up == {file: data if isinstance(data, bytes) else data.read_bytes() for file, data in sent.items()}
    here, back = polzoo.load(name), polzoo.load(f"hf:org/{name}")
    assert back.spec == here.spec and back.settings == here.settings
    pairs = zip(back.state_dict().items(), here.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)
    assert checkpoint.verify(f"hf:org/{name}").ok


@pytest.mark.parametrize("name", cards.folders())
def test_a_shipped_checkpoint(hub, name):
    there_and_back(hub, name)


@pytest.mark.parametrize("name", SHELF)
def test_a_base_a_delta_and_their_aliases(hub, shelf, name):
    there_and_back(hub, name)
    up = hub.repos[f"org/{name}"].head
    assert ("model.safetensors" in up) is not name.endswith("-flash")
    assert b'"base"' not in up["config.json"].data  # a delta is whole there


def test_an_alias_is_not_published_over_a_namesake_of_its_target(hub, shelf, tmp_path):
    """Others would find the published ``x`` under the name, whose weights are not those of the one beside the alias."""
    model = polzoo.load("x")
    next(model.update.parameters()).data.add_(0.5)
    checkpoint.save(model, tmp_path / "x")
    alias = checkpoint.save_alias(tmp_path / "mine", str(tmp_path / "x"), "flashgru")
    assert checkpoint.verify(str(alias)).ok
    with pytest.raises(PolzooError, match="is an alias of x, which only you have; publish that first"):
        prepare(str(alias), "org/mine")


def test_repositories_that_name_each_other_are_refused(hub, shelf):
    """An alias of an alias, of itself, and a delta of a delta: one line, after no more than one further repository."""
    alias, delta = read_alias(shelf / "x-flash"), read_config(shelf / "x-p1")
    assert alias is not None and delta.base is not None
    for name, target in (("a", "hf:org/b"), ("b", "hf:org/a"), ("itself", "org/itself")):
        leaning = alias.model_copy(update={"alias": Target(name=target, sha256="0" * 64)})
        hub.add(f"org/{name}", files_of(shelf / "x-flash", leaning))
        base = Base(name=f"{target}-d", sha256="0" * 64, joined="0" * 64)
        hub.add(f"org/{name}-d", files_of(shelf / "x-p1", delta.model_copy(update={"base": base})))
    for name in ("a", "b", "itself"):
        with pytest.raises(PolzooError, match="which is an alias itself"):
            polzoo.load(f"org/{name}")
        with pytest.raises(PolzooError, match="which is a delta itself; a base is whole"):
            polzoo.load(f"org/{name}-d")


def files_of(folder: Path, config) -> dict[str, bytes]:
    """A folder's files under another config, as somebody else would push them."""
    found = {file.name: file.read_bytes() for file in folder.iterdir()}
    return {**found, "config.json": config_text(config).encode()}
