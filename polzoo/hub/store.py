"""The checkpoints in the Hub's cache, which other libraries share: what is there, how large, and taking it away."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polzoo.errors import PolzooError, unknown
from polzoo.hub.client import is_ours
from polzoo.hub.download import is_whole

if TYPE_CHECKING:
    from huggingface_hub import HFCacheInfo


class Stored(NamedTuple):
    """One commit of a checkpoint's repository in the cache.

    ``names``: branches and tags that lead to it, empty for what a newer commit has replaced. ``size``: bytes on disk.
    ``whole``: it can be loaded; otherwise a download was broken off, or a file was taken away.
    """

    repo_id: str
    commit: str
    names: tuple[str, ...]
    size: int
    whole: bool
    folder: Path


def stored() -> list[Stored]:
    """What the cache holds of polzoo's; the models of other libraries are never listed."""
    return _stored(_scan())


def prune(repo_ids: Collection[str] | None = None) -> tuple[list[Stored], int]:
    """Delete commits from the cache: those of the named repositories, else those that are of no use any more.

    Of no use is what is not whole, and what a branch or tag has left for another commit that is here.

    Returns:
        What was deleted, and how many bytes that freed (files that other commits share stay).

    Raises:
        PolzooError: a name that the cache does not hold, or files that cannot be deleted.
    """
    info = _scan()
    found = _stored(info)
    for name in repo_ids or ():
        if name not in {one.repo_id for one in found}:
            raise unknown("checkpoint in the Hub's cache", name, {one.repo_id for one in found})
    if repo_ids is None:
        named = {one.repo_id for one in found if one.names}
        chosen = [one for one in found if not one.whole or (not one.names and one.repo_id in named)]
    else:
        chosen = [one for one in found if one.repo_id in repo_ids]
    return chosen, 0 if info is None else _delete(info, {one.folder for one in chosen})


def _delete(info: HFCacheInfo, folders: Collection[Path]) -> int:
    """Delete snapshots, and return the bytes freed: one repository at a time, as two may have the same commit."""
    freed = 0
    for repo in info.repos:
        commits = [revision.commit_hash for revision in repo.revisions if revision.snapshot_path in folders]
        strategy = replace(info, repos=frozenset({repo})).delete_revisions(*commits)
        try:
            strategy.execute()
        except OSError as error:
            raise PolzooError(f"the Hub's cache cannot be written: {error.strerror or error}") from error
        freed += strategy.expected_freed_size
    return freed


def _scan() -> HFCacheInfo | None:
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        return scan_cache_dir(constants.HF_HUB_CACHE)
    except CacheNotFound:
        return None


def _stored(info: HFCacheInfo | None) -> list[Stored]:
    return [] if info is None else sorted(_ours(info))


def _ours(info: HFCacheInfo) -> Iterator[Stored]:
    for repo in info.repos:
        for revision in repo.revisions if repo.repo_type == "model" else ():
            folder = revision.snapshot_path
            if is_ours(folder):
                names, size = tuple(sorted(revision.refs)), revision.size_on_disk
                yield Stored(repo.repo_id, revision.commit_hash, names, size, is_whole(folder), folder)
