"""Fetching over the loop-back Hub: pinned, ours alone, from the cache, and whatever goes wrong in one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from loopback import READER, WRITER, flip

import polzoo
from polzoo import hub as hubs
from polzoo import names
from polzoo.cli.app import main
from polzoo.config import FILES, digest
from polzoo.errors import PolzooError
from polzoo.hub.client import explained
from polzoo.registry import Registry


def blobs(hub_cache: Path) -> list[Path]:
    return [path for path in hub_cache.rglob("*") if path.parent.name == "blobs"]


def test_fetches_once_then_loads_from_the_cache_without_a_request(hub, folder, files):
    hub.add("org/small", files)
    first, asked = polzoo.load("org/small"), len(hub.log)
    second, local = polzoo.load("hf:org/small"), polzoo.load(str(folder))
    for one in (first, second):
        pairs = zip(one.state_dict().values(), local.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert len(hub.log) == asked


def test_a_revision_is_a_tag_a_branch_or_a_commit(hub, files):
    old = hub.add("org/small", files)
    hub.repos["org/small"].tags["v1"] = old
    new = hub.add("org/small", {**files, "README.md": b"# newer\n"})
    assert names.resolve("hf:org/small@v1").name == old
    assert names.resolve("org/small@main").name == new
    assert names.resolve(f"org/small@{old}").name == old
    with pytest.raises(PolzooError, match=r"hf:org/small@v9: the repository has no such revision"):
        names.resolve("org/small@v9")


def test_a_branch_stays_where_it_was_fetched_until_it_is_refreshed(hub, files):
    old = hub.add("org/small", files)
    assert names.resolve("org/small").name == old
    new = hub.add("org/small", {**files, "README.md": b"# newer\n"})
    assert names.resolve("org/small").name == old
    assert names.resolve("org/small", refresh=True).name == new
    assert names.resolve("org/small").name == new
    assert hub.asked("GET /[0-9a-f]{64}") == 2  # weights and golden of the first; the second has the same


def test_a_branch_that_moves_while_it_is_fetched(hub, files):
    """The listing is of one commit and the config of the next: said, and nothing mixed."""
    hub.add("org/small", files)
    hub.fail(
        "GET /api/models/org/small$", change=lambda body: (hub.add("org/small", {**files, "eval.json": b""}), body)[1]
    )
    with pytest.raises(PolzooError, match="hf:org/small was changed by someone else meanwhile; try again"):
        hubs.fetch("org/small")
    assert (hubs.fetch("org/small") / "eval.json").exists()


def test_only_our_files_come(hub, files):
    hub.add("org/small", {**files, "modeling.py": b"raise SystemExit", "pytorch_model.bin": b"\x80", "a/b.txt": b"c"})
    found = hubs.fetch("org/small")
    assert {path.name for path in found.iterdir()} == files.keys() <= set(FILES)
    assert not hub.asked("modeling|pytorch_model|txt")


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ({"pytorch_model.bin": b"\x80"}, r"no polzoo checkpoint: it has no config.json; pytorch_model.bin is not read"),
        ({"README.md": b"# hi"}, r"no polzoo checkpoint: it has no config.json$"),
        ({"config.json": b'{"model_type": "bert"}'}, r"no polzoo checkpoint: .*config.json"),
        ({"config.json": b"[]"}, r"no polzoo checkpoint: .*not a JSON object"),
        ({"config.json": b"{" * 100_000}, r"no polzoo checkpoint: .*cannot be read"),
    ],
)
def test_anything_else_is_refused_before_its_weights_are_downloaded(hub, others, words):
    hub.add("org/other", {"model.safetensors": b"\0" * 100, **others})
    with pytest.raises(PolzooError, match="hf:org/other is " + words) as caught:
        polzoo.load("org/other")
    assert "\n" not in str(caught.value)
    assert not hub.asked("model.safetensors|bin")


def test_a_config_of_a_newer_format_names_the_remedy(hub, files):
    newer = {**json.loads(files["config.json"]), "format": 2}
    hub.add("org/small", {**files, "config.json": json.dumps(newer).encode()})
    with pytest.raises(PolzooError, match=r"format 2.*pip install -U polzoo"):
        polzoo.load("org/small")


def test_weights_that_the_config_does_not_describe_are_not_downloaded(hub, files):
    hub.add("org/small", {**files, "model.safetensors": files["golden.safetensors"]})
    with pytest.raises(PolzooError, match=r"no whole checkpoint: its model.safetensors is not the one"):
        polzoo.load("org/small")
    hub.add("org/small", {name: data for name, data in files.items() if name != "golden.safetensors"})
    with pytest.raises(PolzooError, match=r"no whole checkpoint: its config.json names golden.safetensors"):
        polzoo.load("org/small")
    assert not hub.asked("resolve.*safetensors")


def test_private_and_gated(hub, files, monkeypatch):
    hub.add("org/private", files, private=True)
    hub.add("org/gated", files, gated=True)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert polzoo.load("org/private")
    with pytest.raises(PolzooError, match="hf:org/gated is gated: request access on its page, then log in"):
        polzoo.load("org/gated")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PolzooError, match=r"hf:org/private@v1 is not on the Hub, or it is private: .*hf auth login"):
        polzoo.load("org/private@v1")
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(PolzooError, match=r"access refused \(401\).*HF_TOKEN"):
        polzoo.load("org/gated")
    monkeypatch.setenv("HF_TOKEN", WRITER)
    assert polzoo.load("org/gated")


def test_offline(hub, files, monkeypatch):
    """From the cache alone; without it one line, which differs from that of a network that is down."""
    hub.add("org/small", files)
    hubs.fetch("org/small")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    assert polzoo.load("org/small")
    for refused in ("org/other", "org/small@v1"):
        with pytest.raises(PolzooError, match=f"hf:{refused}: HF_HUB_OFFLINE is set"):
            polzoo.load(refused)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.stop()
    huggingface_hub.close_session()
    assert polzoo.load("org/small")
    with pytest.raises(PolzooError, match="hf:org/other: there is no connection to the Hub"):
        polzoo.load("org/other")


def test_a_part_of_a_snapshot_is_no_checkpoint(hub, files, monkeypatch):
    """What was broken off is completed with a network, and refused without one."""
    hub.add("org/small", files)
    found = hubs.fetch("org/small")
    for name in ("model.safetensors", "golden.safetensors"):
        (found / name).unlink()
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        huggingface_hub.close_session()
        with pytest.raises(PolzooError, match=r"HF_HUB_OFFLINE is set.*as a whole"):
            polzoo.load("org/small")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        huggingface_hub.close_session()
        assert hubs.fetch("org/small") == found and (found / name).exists()


def test_refresh_repairs_the_cache(hub, files):
    hub.add("org/small", files)
    found = hubs.fetch("org/small")
    for name, data in files.items():
        (found / name).resolve().write_bytes(data[:-1] + b"!")
    assert hubs.fetch("org/small", refresh=True) == found
    assert {name: (found / name).read_bytes() for name in files} == files


def test_weights_damaged_in_the_cache_name_the_command_that_repairs_them(hub, files):
    commit = hub.add("org/small", files)
    file = hubs.fetch("org/small") / "model.safetensors"
    file.resolve().write_bytes(flip(files["model.safetensors"]))
    with pytest.raises(PolzooError, match=f"; to fetch it again: polzoo pull org/small@{commit}$"):
        polzoo.load("org/small")
    assert main(["pull", f"org/small@{commit}"]) == 0
    assert polzoo.load("org/small")


def test_a_disk_that_is_full(hub, files, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    hub.add("org/small", files)
    monkeypatch.setattr("huggingface_hub.file_download._chmod_and_move", full)
    with pytest.raises(PolzooError, match="hf:org/small: the Hub's cache cannot be written: No space left"):
        polzoo.load("org/small")
    monkeypatch.undo()


@pytest.mark.parametrize("name", ["hf:", "hf:name", "hf:a/b/c", "hf:../x", "hf:a/b@", "hf:a/..b@../c", "hf:a b/c"])
def test_no_address(hub, name):
    with pytest.raises(PolzooError, match="no address on the Hub"):
        names.resolve(name)
    assert not hub.log


@pytest.mark.parametrize("bug", [TypeError, ValueError, RuntimeError])
def test_a_bug_of_ours_passes(bug):
    with pytest.raises(bug, match=r"^ours$"), explained("hf:org/small"):
        raise bug("ours")


def test_what_the_client_says_of_bad_input_is_one_line():
    with (
        pytest.raises(PolzooError, match=r"^hf:org/small.*not a file on the local file system"),
        explained("hf:org/small"),
    ):
        huggingface_hub.CommitOperationAdd("a", "/nowhere")


def registered(sha256: str) -> Registry:
    class Plugin:
        __name__ = "toy"

        @polzoo.hookimpl
        def checkpoints(self, register):
            register("toy-model", "hf:org/toy@v1", summary="a toy", licence="MIT", sha256=sha256)

    return Registry([Plugin()], strict=True)


def test_a_registered_address_is_held_to_its_hash(hub, folder, files, monkeypatch):
    hub.repos.clear()
    commit = hub.add("org/toy", files)
    hub.repos["org/toy"].tags["v1"] = commit
    good = digest(folder / "model.safetensors")
    assert good == hashlib.sha256(files["model.safetensors"]).hexdigest()
    for sha256 in (good, "0" * 64):
        found = registered(sha256)
        monkeypatch.setattr("polzoo.cards.registry", lambda found=found: found)
        if sha256 == good:
            assert polzoo.load("toy-model").spec.backbone.name == "raft-lite"
        else:
            with pytest.raises(PolzooError, match=r"toy-model.*sha256.*not the ones that .* published"):
                names.resolve("toy-model")


def test_weights_in_the_store_that_all_repositories_share_load_too(hub, files):
    """Where the client downloads by Xet, ``cache/blobs/ab/abc…`` holds the file and the repository's blob is a link."""
    hub.add("org/small", files)
    found = hubs.fetch("org/small")
    blob = (found / "model.safetensors").resolve()
    shared = Path(constants.HF_HUB_CACHE) / "blobs" / "ab" / ("ab" * 32)
    shared.parent.mkdir(parents=True)
    blob.rename(shared)
    blob.symlink_to("../../blobs/ab/" + shared.name)
    assert polzoo.load("org/small")
    shared.write_bytes(b"damaged")
    hubs.fetch("org/small", refresh=True)
    assert (found / "model.safetensors").read_bytes() == files["model.safetensors"]


def test_copies_of_the_cache_without_links_load_too(hub, files):
    """Where the file system has no links, the client copies."""
    hub.add("org/small", files)
    found = hubs.fetch("org/small")
    for name in files:
        target = (found / name).resolve()
        (found / name).unlink()
        shutil.copy(target, found / name)
    assert polzoo.load("org/small")
