"""From a name to a checkpoint folder: a path, a published model, or a repository on the Hub. Imports no torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from polzoo import cards, hub
from polzoo.config import CONFIG, WEIGHTS, digest, inside
from polzoo.errors import PolzooError, home, shorten, unknown
from polzoo.registry import Entry

_HUB = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?", re.ASCII)


def resolve(name: str | os.PathLike[str]) -> Path:
    """The folder of a checkpoint.

    ``dir:PATH`` and ``hf:ORG/NAME[@REVISION]`` say what they are. Otherwise a name with a separator is a path if
    there is one, and a name without is never the working directory's: published models, then the Hub.

    Raises:
        PolzooError: there is no such checkpoint (with the nearest match), or it cannot be fetched.
    """
    if isinstance(name, os.PathLike):
        return _folder(os.fspath(name))
    if name.startswith("dir:"):
        return _folder(name.removeprefix("dir:"))
    if name.startswith("hf:"):
        return _fetch(name.removeprefix("hf:"))
    path = _path(name)
    if path is not None and path.exists():
        return _folder(name)
    name = name.rstrip("/")  # as a shell completes it
    path = _path(name)
    found = {card.name: card.source for card in cards.checkpoints()}
    if name in found:
        return _published(name, found[name])
    if path is not None:
        if name.startswith((".", "/", "~")) or not _HUB.fullmatch(name):
            raise PolzooError(f"there is no folder {shorten(name)!r}")
        return _fetch(name)
    raise PolzooError(f"{unknown('checkpoint', name, found)}{_hint(name)}")


def _path(name: str) -> Path | None:
    """The path that a name with a separator may be; None for a bare name. Refuses what no file system takes."""
    if "/" not in name and os.sep not in name and name not in ("~", ".", ".."):
        return None
    path = Path(name)
    try:
        path = home(path)
        path.lstat()
    except FileNotFoundError:
        pass
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise PolzooError(f"{shorten(name)!r} is no usable path: {why}") from error
    return path


def _folder(text: str) -> Path:
    path = _path(os.path.join(".", text)) if not text.startswith(("~", "/")) else _path(text)
    if not text or path is None or not path.exists():
        raise PolzooError(f"there is no folder {shorten(text)!r}")
    if not path.is_dir():
        raise PolzooError(f"{shorten(text)!r} is a file; name the checkpoint folder that holds {CONFIG}")
    if not (path / CONFIG).exists():
        also = f"; a repository on the Hub is written hf:{text}" if _HUB.fullmatch(text) else ""
        if (path / "checkpoint" / CONFIG).exists():  # a run of `polzoo train`
            also = f"; the checkpoint of this run is {os.path.join(text, 'checkpoint')}"
        raise PolzooError(f"the folder {shorten(text)!r} is no checkpoint: it has no {CONFIG}{also}")
    return path


def _published(name: str, source: Path | Entry) -> Path:
    if isinstance(source, Path):
        return source
    folder = source.folder()
    if folder is None:
        folder = _fetch(source.target.removeprefix("hf:"))
        found = digest(inside(folder, WEIGHTS))
        if found != source.sha256:
            raise PolzooError(
                f"checkpoint {name!r}: the weights of {source.target} have sha256 {found[:12]}…, "
                f"registered is {str(source.sha256)[:12]}…; they are not the ones that {source.distribution} published"
            )
    return folder


def _fetch(address: str) -> Path:
    match = _HUB.fullmatch(address)
    if match is None or ".." in address:
        raise PolzooError(f"{shorten(address)!r} is no address on the Hub; write org/name or org/name@revision")
    return hub.fetch(match["repo"], match["revision"])


def _hint(name: str) -> str:
    return f" (the folder of that name here is ./{name} or dir:{name})" if _is_folder(name) else ""


def _is_folder(name: str) -> bool:
    try:
        return bool(name) and Path(name).is_dir()
    except (OSError, ValueError):
        return False
