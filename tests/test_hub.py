"""The Hub, faked: cache first, our files only, one line for whatever goes wrong."""

import hashlib
import importlib
import os
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

import polzoo
from polzoo import checkpoint, hub, names
from polzoo.config import FILES
from polzoo.errors import PolzooError
from polzoo.registry import Registry
from polzoo.settings import Settings

httpx = importlib.import_module(
    errors.HfHubHTTPError.__bases__[0].__module__.partition(".")[0]
)  # httpx or its successor, by version
SPEC = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"


class FakeHub:
    """``snapshot_download`` over a dict of repositories, with the cache's layout of links into ``blobs``."""

    def __init__(self, cache: Path) -> None:
        self.cache, self.repos, self.calls, self.fail = cache, {}, [], None

    def __call__(self, repo_id, *, revision=None, allow_patterns=None, local_files_only=False, **rest):
        self.calls.append((repo_id, revision, local_files_only))
        assert allow_patterns == list(FILES) and not rest
        repo = self.cache / f"models--{repo_id.replace('/', '--')}"
        snapshot = repo / "snapshots" / (revision or "main")
        if local_files_only:
            if not snapshot.is_dir():
                raise errors.LocalEntryNotFoundError("not in the cache")
            return str(snapshot)
        if self.fail is not None:
            raise self.fail
        (repo / "blobs").mkdir(parents=True, exist_ok=True)
        snapshot.mkdir(parents=True)
        for file in self.repos[repo_id, revision].iterdir():
            if file.name in FILES:
                shutil.copy(file, repo / "blobs" / f"{revision}-{file.name}")
                (snapshot / file.name).symlink_to(f"../../blobs/{revision}-{file.name}")
        return str(snapshot)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    found = FakeHub(tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", found)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    return checkpoint.save(polzoo.build(SPEC, Settings(iterations=2)), tmp_path_factory.mktemp("hub") / "ck")


def response(status: int):
    return httpx.Response(status, request=httpx.Request("GET", "https://huggingface.co/x"))


def test_fetches_once_then_from_the_cache_and_loads_through_its_links(fake, folder):
    fake.repos["org/name", None] = folder
    first, second = polzoo.load("org/name"), polzoo.load("hf:org/name")
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert [local for _, _, local in fake.calls] == [True, False, True]


def test_revision(fake, folder):
    fake.repos["org/name", "v1.0"] = folder
    assert names.resolve("org/name@v1.0").name == "v1.0"
    assert fake.calls[-1] == ("org/name", "v1.0", False)


def test_only_our_files_come(fake, folder, tmp_path):
    extra = shutil.copytree(folder, tmp_path / "extra")
    (extra / "modeling.py").write_text("raise SystemExit")
    (extra / "pytorch_model.bin").write_bytes(b"\x80")
    fake.repos["org/name", None] = extra
    assert {p.name for p in hub.fetch("org/name").iterdir()} <= set(FILES)


def test_a_repository_without_config_is_no_checkpoint(fake, tmp_path):
    (tmp_path / "other").mkdir()
    fake.repos["org/name", None] = tmp_path / "other"
    with pytest.raises(PolzooError, match="hf:org/name is no polzoo checkpoint"):
        hub.fetch("org/name")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.GatedRepoError("x", response=response(403)), "is gated.*token"),
        (errors.RepositoryNotFoundError("x", response=response(404)), "not on the Hub, or it is private.*token"),
        (errors.RevisionNotFoundError("x", response=response(404)), "no revision 'v9'"),
        (errors.HfHubHTTPError("x", response=response(401)), r"refused \(401\).*token"),
        (errors.HfHubHTTPError("x", response=response(503)), "answers 503"),
        (errors.LocalEntryNotFoundError("x"), "no network, or HF_HUB_OFFLINE"),
        (errors.OfflineModeIsEnabled("x"), "no network, or HF_HUB_OFFLINE"),
        (httpx.ConnectError("x"), "no network"),
        (ConnectionResetError(104, "reset"), "no network"),
        (OSError(28, "No space left on device"), "cannot be stored.*No space left"),
        (PermissionError(13, "Permission denied"), "cannot be stored.*Permission denied"),
        (errors.HFValidationError("bad"), "no address on the Hub"),
    ],
)
def test_what_goes_wrong_is_one_line(fake, error, words):
    fake.fail = error
    with pytest.raises(PolzooError, match=words) as caught:
        hub.fetch("org/name", "v9")
    assert "\n" not in str(caught.value)
    assert "hf:org/name@v9" in str(caught.value)


@pytest.mark.parametrize("name", ["hf:", "hf:name", "hf:a/b/c", "hf:../x", "hf:a/b@", "hf:a/..b@../c", "hf:a b/c"])
def test_no_address(fake, name):
    with pytest.raises(PolzooError, match="no address on the Hub"):
        names.resolve(name)
    assert not fake.calls


def test_really_offline(tmp_path, monkeypatch):
    """The installed huggingface_hub, with an empty cache and no network: the same one line."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PolzooError, match="HF_HUB_OFFLINE"):
        hub.fetch("org/name")


def registered(sha256: str) -> Registry:
    class Plugin:
        __name__ = "toy"

        @polzoo.hookimpl
        def checkpoints(self, register):
            register("toy-model", "hf:org/toy@v1", summary="a toy", licence="MIT", sha256=sha256)

    return Registry([Plugin()], strict=True)


def test_a_registered_address_is_held_to_its_hash(fake, folder, monkeypatch):
    fake.repos["org/toy", "v1"] = folder
    good = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    for digest in (good, "0" * 64):
        found = registered(digest)
        monkeypatch.setattr("polzoo.cards.registry", lambda found=found: found)
        if digest == good:
            assert os.fspath(polzoo.load("toy-model").spec.backbone.name) == "raft-lite"
        else:
            with pytest.raises(PolzooError, match=r"toy-model.*sha256.*not the ones that .* published"):
                names.resolve("toy-model")
