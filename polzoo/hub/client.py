"""The Hub's client library as polzoo uses it, and one line for whatever goes wrong with it."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polzoo import __version__
from polzoo.config import digest, raw, read_alias, read_config
from polzoo.errors import PolzooError, one_line, shorten

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

LOG_IN = "log in (hf auth login) or set HF_TOKEN"

ADDRESS = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)
"""``org/name`` or ``org/name@revision``."""


def parse(address: str) -> tuple[str, str | None]:
    """``"org/name@v1.0"`` → repository and revision; a PolzooError if it is no address."""
    match = ADDRESS.fullmatch(address)
    if match is None or ".." in address:
        raise PolzooError(f"{shorten(address)!r} is no address on the Hub; write org/name or org/name@revision")
    return match["repo"], match["revision"]


def client() -> HfApi:
    """The library's client; it reads endpoint, token and offline mode from the environment."""
    from huggingface_hub import HfApi

    return HfApi(library_name="polzoo", library_version=__version__)


def listing(api: HfApi, repo_id: str, commit: str) -> dict[str, RepoFile]:
    """Name → size and hashes of the files at the top of a repository, as the Hub lists them for a commit."""
    from huggingface_hub.hf_api import RepoFile

    entries = api.list_repo_tree(repo_id, revision=commit)
    return {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}


def same(content: bytes | Path, listed: RepoFile) -> bool:
    """Whether a content is what the Hub lists: sha256 of a large file, git's hash of any other, and the size."""
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if size != listed.size:
        return False
    if listed.lfs is not None:
        return sha256(content) == listed.lfs.sha256
    data = content if isinstance(content, bytes) else content.read_bytes()
    return hashlib.sha1(b"blob %d\0" % size + data, usedforsecurity=False).hexdigest() == listed.blob_id


def hashes(folder: Path) -> Mapping[str, str]:
    """File → sha256 as a folder's config has them, none in an alias; a PolzooError if it is no config of ours."""
    return {**read_config(folder).sha256} if read_alias(folder) is None else {}


def is_ours(folder: Path) -> bool:
    """Whether a folder's config has the seal that only polzoo writes, be it damaged or of a newer format."""
    try:
        return "seal" in raw(folder)
    except PolzooError:
        return False


def sha256(content: bytes | Path) -> str:
    """sha256 of bytes, or of a file's content."""
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else digest(content)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what the client raises into a PolzooError of one line that begins with ``where``; our bugs pass."""
    from huggingface_hub import errors

    transport: Any = errors.HfHubHTTPError.__bases__[0]  # of its HTTP library, which differs by version
    try:
        yield
    except PolzooError:
        raise
    except (OSError, transport) as error:
        raise PolzooError(f"{where}{_explain(error)}") from error
    except (RuntimeError, ValueError) as error:
        if not _came_through_client(error):
            raise
        raise PolzooError(f"{where}{_explain(error)}") from error


def _came_through_client(error: BaseException) -> bool:
    """Whether the client was at work: it raises bare RuntimeErrors and ValueErrors, which our bugs may be, too."""
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(module.partition(".")[0] == "huggingface_hub" for module in modules)


def _explain(error: BaseException) -> str:
    """Why a request failed, in words: refused, not there, unreachable, broken off, or the disk."""
    from huggingface_hub import errors

    for cause in _causes(error):
        name, status = type(cause).__name__, getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(cause, errors.GatedRepoError):
            return f" is gated: request access on its page, then {LOG_IN}"
        if isinstance(cause, errors.RepositoryNotFoundError):
            return f" is not on the Hub, or it is private: check the name, or {LOG_IN}"
        if isinstance(cause, errors.RevisionNotFoundError):
            return ": the repository has no such revision"
        if isinstance(cause, errors.RemoteEntryNotFoundError):
            return ": a file that the Hub lists is not there; try again later"
        if isinstance(cause, errors.HFValidationError):
            return f" is no address on the Hub: {one_line(cause)}"
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return ": HF_HUB_OFFLINE is set, and it is not in the Hub's cache as a whole"
        if "Invalid metadata in README.md" in str(cause):
            return f": the Hub refuses the card: {shorten(' '.join(str(cause).split()), 300)}"
        if status is not None:
            return f": {_refusal(status, cause)}"
        if "Timeout" in name:
            return ": the Hub did not answer in time; try again later"
        if name == "ConnectError":
            return ": there is no connection to the Hub"
        broken = name.endswith(("ProtocolError", "ReadError", "WriteError")) or isinstance(cause, ConnectionError)
        if broken or "client has been closed" in str(cause):  # by another thread, whose connection failed
            return ": the connection to the Hub broke off; try again"
        if isinstance(cause, OSError) and cause.errno is not None:
            return f": the Hub's cache cannot be written: {cause.strerror or cause}"
        if "Consistency check failed" in str(cause):
            return ": a file arrived incomplete; try again"
    return f": {one_line(list(_causes(error))[-1])}"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and what it was raised from, innermost last."""
    while error is not None:
        yield error
        error = error.__cause__


def _refusal(status: int, error: BaseException) -> str:
    if status in (401, 403):
        return f"access refused ({status}); {LOG_IN}, with a token that may do this"
    if status == 412:
        return "it was changed by someone else meanwhile; try again"
    if status == 429:
        return "too many requests (429); wait a few minutes"
    if status >= 500:
        return f"the Hub answers {status}; try again later"
    said = getattr(error, "server_message", None)
    return f"the Hub answers {status}" + (f": {shorten(' '.join(said.split()), 200)}" if said else "")
