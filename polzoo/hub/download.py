"""From the Hub, or its cache, to a checkpoint folder: pinned to a commit, every file checked against its hash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from polzoo.config import CONFIG, FILES
from polzoo.errors import PolzooError
from polzoo.hub.client import client, explained, hashes, listing, same

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl")


def fetch(repo_id: str, revision: str | None = None, *, refresh: bool = False) -> Path:
    """The folder of a model repository, from the Hub's cache if it is there as a whole, else downloaded.

    A branch (``main`` unless given) stays at the commit that was fetched first, as long as the cache has it; name a
    tag or commit to have a certain one. Only files of a checkpoint folder are downloaded. Each is compared with the
    hash that the Hub lists for the commit, and those that ``config.json`` names with the hash there; what arrives
    damaged is asked for once more and never stays in the cache.

    Args:
        refresh: ask the Hub what the revision is now, and check the files that are in the cache already.

    Raises:
        PolzooError: no network, no such repository or revision, no access, no checkpoint in it, or a damaged file.
    """
    where = f"hf:{repo_id}" + (f"@{revision}" if revision else "")
    with explained(where):
        found = None if refresh else _cached(repo_id, revision)
        return found or _download(client(), repo_id, revision, where)


def is_whole(folder: Path) -> bool:
    """Whether a folder of the cache has a config of ours and every file that it holds a hash of."""
    try:
        return all((folder / name).is_file() for name in hashes(folder))
    except PolzooError:
        return False


def _cached(repo_id: str, revision: str | None) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo_id, CONFIG, revision=revision)
    folder = Path(found).parent if isinstance(found, str) else None
    return folder if folder is not None and is_whole(folder) else None


def _download(api: HfApi, repo_id: str, revision: str | None, where: str) -> Path:
    """``config.json`` first: it says whether this is ours, and what the other files must be."""
    from huggingface_hub import constants

    info = api.model_info(repo_id, revision=revision, timeout=constants.HF_HUB_ETAG_TIMEOUT)  # fails at once
    commit = str(info.sha)
    listed = listing(api, repo_id, commit)
    if CONFIG not in listed:
        raise PolzooError(_foreign(where, listed))
    folder = Path(api.hf_hub_download(repo_id, CONFIG, revision=revision)).parent  # the cache notes what it stands for
    if folder.name != commit:
        raise PolzooError(f"{where} was changed by someone else meanwhile; try again")
    _get(api, repo_id, commit, listed[CONFIG], where)
    try:
        wanted = hashes(folder)
    except PolzooError as error:
        raise PolzooError(f"{where} is no polzoo checkpoint: {error}") from None
    _refuse_mismatch(wanted, listed, where)
    there = [listed[name] for name in FILES if name in listed and name != CONFIG]
    needed = [file for file in there if file.path in wanted]  # last: they make the folder whole
    with ThreadPoolExecutor(max_workers=8) as pool:
        for files in ([file for file in there if file not in needed], needed):
            list(pool.map(lambda file: _get(api, repo_id, commit, file, where), files))
    return folder


def _get(api: HfApi, repo_id: str, commit: str, listed: RepoFile, where: str) -> None:
    """Download a file unless the cache has it, and compare it with what the Hub lists; the second time it counts."""
    for _ in range(2):
        file = Path(api.hf_hub_download(repo_id, listed.path, revision=commit))
        if same(file, listed):
            return
        _discard(file)
    raise PolzooError(f"{where}: {listed.path} arrived damaged twice, so it was not kept; try again later")


def _discard(file: Path) -> None:
    """Take a file out of the cache: the link in the snapshot and what it points to."""
    content = file.resolve()
    file.unlink(missing_ok=True)
    content.unlink(missing_ok=True)


def _refuse_mismatch(hashes: Mapping[str, str], listed: Mapping[str, RepoFile], where: str) -> None:
    """Before the weights are downloaded: are they there, and the ones that the config describes?"""
    for name, wanted in hashes.items():
        if name not in listed:
            raise PolzooError(f"{where} is no whole checkpoint: its {CONFIG} names {name}, which is not there")
        large = listed[name].lfs
        if large is not None and large.sha256 != wanted:
            raise PolzooError(f"{where} is no whole checkpoint: its {name} is not the one that its {CONFIG} describes")


def _foreign(where: str, listed: Iterable[str]) -> str:
    others = sorted(name for name in listed if name.endswith(PICKLES))
    hint = f"; {others[0]} is not read: only safetensors written by polzoo are (see polzoo convert)" if others else ""
    return f"{where} is no polzoo checkpoint: it has no {CONFIG}{hint}"
