"""Publishing over the loop-back Hub: one commit or none, nothing by accident, and one line for what goes wrong."""

from __future__ import annotations

import hashlib
import json
import shutil

import huggingface_hub
import pytest
from huggingface_hub import constants
from loopback import READER

import polzoo
from polzoo import checkpoint
from polzoo import hub as hubs
from polzoo.errors import PolzooError

pytestmark = pytest.mark.filterwarnings("ignore:Use .content")  # the client's own use of its HTTP library


@pytest.fixture
def mine(folder, tmp_path):
    """A copy of the checkpoint folder that a test may change."""
    return shutil.copytree(folder, tmp_path / "mine")


def head(hub, repo_id="org/small") -> dict[str, bytes]:
    return {name: blob.data for name, blob in hub.repos[repo_id].head.items() if name != ".gitattributes"}


def test_what_goes_up_is_what_comes_down(hub, folder):
    sent = hubs.contents(folder)
    done = hubs.publish(sent, "org/small", tag="v1.0")
    assert head(hub) == {name: c if isinstance(c, bytes) else c.read_bytes() for name, c in sent.items()}
    repo = hub.repos["org/small"]
    assert repo.tags == {"v1.0": done.commit} and repo.branches == {"main": done.commit} and not repo.private
    assert len(repo.trees) == 2  # the one it was created with, and ours
    assert set(done.changed) == set(sent)
    assert checkpoint.verify("org/small@v1.0").ok


def test_the_same_content_makes_no_commit(hub, folder):
    sent = hubs.contents(folder)
    first = hubs.publish(sent, "org/small")
    again = hubs.publish(sent, "org/small", tag="v1")
    assert again.commit == first.commit and again.changed == ()
    assert hubs.publish(sent, "org/small", tag="v1").commit == first.commit  # the tag is there already, on this
    assert hub.asked("POST .*/commit/") == 1 and hub.asked("PUT") == 2


def test_only_what_changed_is_sent_and_what_went_is_deleted_by_the_same_commit(hub, folder, mine):
    hubs.publish(hubs.contents(folder), "org/small")
    theirs = {**hub.repos["org/small"].head}
    hub.add("org/small", {**{name: blob.data for name, blob in theirs.items()}, "notes.txt": b"theirs"})
    config = checkpoint.read_config(mine)
    hashes = {name: value for name, value in config.sha256.items() if name != "recipe.toml"}
    checkpoint.write_config(mine, config.model_copy(update={"sha256": hashes, "summary": "Smaller"}))
    (mine / "recipe.toml").unlink()
    done = hubs.publish(hubs.contents(mine), "org/small")
    assert "config.json" in done.changed and "recipe.toml" in done.changed
    assert "model.safetensors" not in done.changed and hub.asked("PUT") == 2
    assert hub.asked("POST .*/commit/") == 2
    assert head(hub)["notes.txt"] == b"theirs" and "recipe.toml" not in head(hub)
    assert polzoo.load("org/small")


def test_private(hub, folder):
    sent = hubs.contents(folder)
    hubs.publish(sent, "org/secret", private=True)
    hubs.publish(sent, "org/secret")  # stays as it is
    assert hub.repos["org/secret"].private
    hubs.publish(sent, "org/open")
    with pytest.raises(PolzooError, match="hf:org/open is there already and public"):
        hubs.publish(sent, "org/open", private=True)


def test_a_tag_is_never_moved(hub, folder, mine):
    first = hubs.publish(hubs.contents(folder), "org/small", tag="v1")
    checkpoint.write_config(mine, checkpoint.read_config(mine).model_copy(update={"summary": "Another"}))
    for tag in ("v1", "main"):
        with pytest.raises(PolzooError, match=f"has a tag '{tag}' already"):
            hubs.publish(hubs.contents(mine), "org/small", tag=tag)
    assert hub.repos["org/small"].branches["main"] == first.commit  # refused before anything was sent
    with pytest.raises(PolzooError, match="'v 1' is no tag"):
        hubs.publish(hubs.contents(mine), "org/small", tag="v 1")


@pytest.mark.parametrize(
    "theirs",
    [
        {"config.json": json.dumps({"model_type": "bert"}).encode(), "model.safetensors": b"\0"},
        {"config.json": b"[]"},
        {"config.json": b"{"},
        {"config.json": b'{"a": "' + b"a" * (1 << 20) + b'"}'},
        {"model.safetensors": b"\0", "eval.json": b"{}", "demo.png": b"\0"},
        {"README.md": b"---\nlicense: mit\n---\ntheirs\n---\n"},
    ],
    ids=["bert", "list", "broken", "large", "lora", "card"],
)
def test_another_kind_of_model_is_not_overwritten(hub, folder, theirs):
    hub.add("org/bert", {"README.md": b"# theirs\n", **theirs})
    with pytest.raises(
        PolzooError, match=r"^hf:org/bert holds another kind of model: .*README\.md.*, not sealed"
    ) as caught:
        hubs.publish(hubs.contents(folder), "org/bert")
    assert constants.HF_HUB_CACHE not in str(caught.value)
    assert not hub.asked("PUT|commit/")


@pytest.mark.parametrize("card", [b"---\nlicense: mit\n---\n", b"---\r\nlicense: mit\r\ntags:\r\n- x\r\n---\r\n"])
def test_the_card_that_the_hub_makes_for_a_new_repository_is_replaced(hub, folder, card):
    hub.add("org/small", {".gitattributes": b"", "README.md": card, "notes.txt": b"theirs"})
    sent, ours = dict(hubs.contents(folder)), b"---\nlicense: mit\n---\n# ours\n"
    hubs.publish({**sent, "README.md": ours}, "org/small")
    assert head(hub)["README.md"] == ours and head(hub)["notes.txt"] == b"theirs"
    hub.add("org/other", {"README.md": card})
    del sent["README.md"]
    hubs.publish(sent, "org/other")
    assert head(hub, "org/other")["README.md"] == card


@pytest.mark.parametrize("name", ["model.safetensors", "golden.safetensors", "recipe.toml", "config.json"])
def test_a_damaged_folder_is_not_published(mine, name):
    (mine / name).write_bytes((mine / name).read_bytes()[:-2] + b"!\n")
    with pytest.raises(PolzooError, match=name.replace(".", r"\.")):
        hubs.contents(mine)


def test_foreign_files_and_links_stay_at_home(hub, mine, tmp_path):
    (mine / "id_rsa").write_text("secret")
    assert "id_rsa" not in hubs.contents(mine)
    (tmp_path / "secret").write_text("secret")
    (mine / "eval.json").symlink_to(tmp_path / "secret")
    with pytest.raises(PolzooError, match=r"eval\.json is a link out of its folder"):
        hubs.contents(mine)


def test_no_token_is_said_before_anything_is_asked(hub, folder, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PolzooError, match=r"hf:org/small: publishing needs a token.*hf auth login"):
        hubs.publish(hubs.contents(folder), "org/small")
    assert not hub.log


def test_no_right_to_write(hub, folder, monkeypatch):
    with pytest.raises(PolzooError, match=r"hf:others/small: access refused \(403\)"):
        hubs.publish(hubs.contents(folder), "others/small")
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(PolzooError, match=r"access refused \(403\).*token that may"):
        hubs.publish(hubs.contents(folder), "org/small")
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    with pytest.raises(PolzooError, match=r"access refused \(401\)"):
        hubs.publish(hubs.contents(folder), "org/small")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    with pytest.raises(PolzooError, match="HF_HUB_OFFLINE is set"):
        hubs.publish(hubs.contents(folder), "org/small")
    assert not hub.repos


def test_a_commit_of_someone_else_in_between_is_not_overwritten(hub, folder, monkeypatch):
    """The one race that matters: their commit comes after we looked and before ours."""
    original = huggingface_hub.HfApi.create_commit

    def late(self, repo_id, *arguments, **keywords):
        hub.add(repo_id, {"README.md": b"# theirs\n"})
        return original(self, repo_id, *arguments, **keywords)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_commit", late)
    with pytest.raises(PolzooError, match="hf:org/small: it was changed by someone else meanwhile"):
        hubs.publish(hubs.contents(folder), "org/small")
    assert head(hub) == {"README.md": b"# theirs\n"}


def test_hashes_of_the_loopback_hub_are_those_of_git(hub, folder):
    """Its listing against git's own formula, so that the two sides of these tests do not share one mistake."""
    hubs.publish(hubs.contents(folder), "org/small")
    (recipe,) = (blob for name, blob in hub.repos["org/small"].head.items() if name == "recipe.toml")
    assert recipe.oid == hashlib.sha1(b"blob %d\x00%b" % (len(recipe.data), recipe.data)).hexdigest()
    # printf 'hello\n' | git hash-object --stdin
    assert type(recipe)(b"hello\n", False).oid == "ce013625030ba8dba906f756967f9e9ca394464a"
