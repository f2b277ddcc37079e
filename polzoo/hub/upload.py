"""From a checkpoint folder to the Hub: one commit that holds exactly the folder's files, or none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polzoo.config import CARD, CONFIG, FILES, inside
from polzoo.errors import PolzooError, shorten
from polzoo.hub.client import LOG_IN, client, explained, hashes, is_ours, listing, same, sha256

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Contents = Mapping[str, bytes | Path]
_TAG = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
_BARE_CARD = re.compile(rb"---\s*\n((?!---).*\n)*---\s*")


class Published(NamedTuple):
    """Where a checkpoint is now: its commit (40 hexadecimal digits), and the files that this publication changed."""

    repo_id: str
    commit: str
    changed: tuple[str, ...]
    url: str


def contents(folder: Path) -> dict[str, bytes | Path]:
    """What would go up, by name: the files of a checkpoint folder and nothing else that lies in it.

    Raises:
        PolzooError: the config is not as it was written, or a file is missing or does not have the hash there.
    """
    for name, wanted in hashes(folder).items():
        if sha256(inside(folder, name)) != wanted:
            raise PolzooError(f"{folder / name} does not match the sha256 in {CONFIG}, so it is not published")
    return {name: inside(folder, name) for name in FILES if (folder / name).exists()}


def publish(files: Contents, repo_id: str, *, tag: str | None = None, private: bool = False) -> Published:
    """Make a model repository hold these files, by one commit; no commit where it holds them already.

    The repository is created if it is not there. Until the commit, nothing of it is visible; files of a former
    checkpoint that are no longer part of it go by the same commit, and anybody else's files stay.

    Args:
        files: what :func:`contents` found.
        tag: name of the commit, such as ``"v1.0"``; one that exists is never moved.
        private: create it private; one that is public already is refused.

    Raises:
        PolzooError: no token, no right to write, a repository with another kind of model, a tag that is taken, or
            a connection that fails.
    """
    from huggingface_hub import get_token

    where = f"hf:{repo_id}"
    if tag is not None and not _TAG.fullmatch(tag):
        raise PolzooError(f"{shorten(tag)!r} is no tag; use letters, digits, dots, dashes, such as v1.0")
    with explained(where):
        if get_token() is None:
            raise PolzooError(f"{where}: publishing needs a token that may write; {LOG_IN}")
        api = client()
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        info = api.model_info(repo_id)
        if private and not info.private:
            raise PolzooError(f"{where} is there already and public; make it private on its page, or leave --private")
        head = str(info.sha)
        changed, stale = _difference(api, repo_id, head, files, where)
        taken = _tag_taken(api, repo_id, tag, None if changed or stale else head, where)
        commit = _commit(api, repo_id, head, files, changed, stale) if changed or stale else head
        if tag is not None and not taken:
            api.create_tag(repo_id, tag=tag, revision=commit)
    return Published(repo_id, commit, (*changed, *stale), f"{api.endpoint}/{repo_id}")


def _difference(
    api: HfApi, repo_id: str, head: str, files: Contents, where: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(files to send, files to delete) between a commit and what it shall hold.

    An error if files of these names are there and none of polzoo's. A card that is front matter alone may be replaced:
    it is what the Hub's own page makes for a new repository.
    """
    there = listing(api, repo_id, head)
    changed = tuple(name for name, content in files.items() if name not in there or not same(content, there[name]))
    found = [name for name in FILES if name in there]

    def download(name: str) -> Path:
        return Path(api.hf_hub_download(repo_id, name, revision=head))

    if CONFIG in there and (CONFIG not in changed or is_ours(download(CONFIG).parent)):
        return changed, tuple(name for name in found if name not in files)
    if found and not (found == [CARD] and _BARE_CARD.fullmatch(download(CARD).read_bytes())):
        theirs = ", ".join(found)
        raise PolzooError(f"{where} holds another kind of model: {theirs}, not sealed by polzoo; take a new name")
    return changed, ()


def _tag_taken(api: HfApi, repo_id: str, tag: str | None, commit: str | None, where: str) -> bool:
    """Whether the tag names ``commit`` already; an error if it, or a branch of that name, names anything else."""
    if tag is None:
        return False
    refs = api.list_repo_refs(repo_id)
    found = {ref.name: ref.target_commit for ref in (*refs.branches, *refs.tags)}
    if tag in found and found[tag] != commit:
        raise PolzooError(f"{where} has a tag {tag!r} already, on other files; a tag is never moved: take a new one")
    return tag in found


def _commit(
    api: HfApi, repo_id: str, head: str, files: Contents, changed: tuple[str, ...], stale: tuple[str, ...]
) -> str:
    """One commit on top of ``head``; the Hub refuses it if somebody else's came in between."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    adds = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=files[name]) for name in changed]
    deletes = [CommitOperationDelete(path_in_repo=name) for name in stale]
    message = f"polzoo publish: {', '.join((*changed, *stale))}"
    return api.create_commit(repo_id, [*adds, *deletes], commit_message=message, parent_commit=head).oid
