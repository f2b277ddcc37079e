"""Checkpoint folders from the Hugging Face Hub: cache first, our own files only, nothing executed."""

from __future__ import annotations

from pathlib import Path

from polzoo.config import CONFIG, FILES
from polzoo.errors import PolzooError, one_line


def fetch(repo_id: str, revision: str | None = None) -> Path:
    """The folder of a model repository, from the Hub's cache if it is there, else downloaded.

    A branch (``main`` unless given) stays at the commit that was fetched first, as long as the cache has it; name a
    tag or commit to have a certain one.

    Raises:
        PolzooError: no network, no such repository or revision, no access, or no checkpoint in it.
    """
    where = f"hf:{repo_id}" + (f"@{revision}" if revision else "")
    folder = _cached(repo_id, revision)
    if folder is None:
        folder = _download(repo_id, revision, where)
    if not (folder / CONFIG).is_file():
        raise PolzooError(f"{where} is no polzoo checkpoint: it has no {CONFIG}")
    return folder


def _cached(repo_id: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(repo_id, revision=revision, allow_patterns=list(FILES), local_files_only=True)
    except (OSError, ValueError):  # not there, or not all of it
        return None
    return Path(str(found)) if (Path(str(found)) / CONFIG).is_file() else None


def _download(repo_id: str, revision: str | None, where: str) -> Path:
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(str(snapshot_download(repo_id, revision=revision, allow_patterns=list(FILES))))
    except errors.GatedRepoError as error:
        message = "access has to be requested on its page, and a token is needed: hf auth login"
        raise PolzooError(f"{where} is gated: {message}") from error
    except errors.RepositoryNotFoundError as error:
        message = "is not on the Hub, or it is private: check the name, or log in with a token (hf auth login)"
        raise PolzooError(f"{where} {message}") from error
    except errors.RevisionNotFoundError as error:
        raise PolzooError(f"{where}: the repository has no revision {revision!r}") from error
    except errors.HFValidationError as error:
        raise PolzooError(f"{where} is no address on the Hub: {one_line(error)}") from error
    except Exception as error:  # its HTTP library, and with it the class of a failed connection, differs by version
        raise PolzooError(_explain(where, error)) from error


def _explain(where: str, error: Exception) -> str:
    """Why a download failed, in words: refused, unreachable, or the disk."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return f"{where}: access refused ({status}); log in with a token that may read it: hf auth login"
    if status is not None:
        return f"{where}: the Hub answers {status}; try again later"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return f"{where} cannot be stored in the Hub's cache: {error.strerror or error}"
    return f"{where} is not in the Hub's cache and cannot be fetched: no network, or HF_HUB_OFFLINE is set"
