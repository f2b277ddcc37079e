"""From a name to a checkpoint folder: a path, a published model, or a repository on the Hub. Imports no torch."""

from __future__ import annotations

import os
import re
from pathlib import Path

from polzoo import cards, hub
from polzoo import spec as specs
from polzoo.components import with_article
from polzoo.config import CONFIG, WEIGHTS, Alias, Config, digest, inside, is_snapshot, read_alias, read_config
from polzoo.errors import PolzooError, home, shorten, unknown
from polzoo.registry import Entry

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)


def resolve(name: str | os.PathLike[str], *, refresh: bool = False) -> Path:
    """The folder with the tensors of a checkpoint: :func:`find`, and of an alias its target."""
    return follow(find(name, refresh=refresh))[0]


def follow(folder: Path) -> tuple[Path, Alias | None]:
    """(the folder with tensors, the alias that led to it): of any checkpoint but an alias the folder itself.

    Raises:
        PolzooError: an alias whose target is not there, is an alias itself, or has other weights than it had.
    """
    alias = read_alias(folder)
    if alias is None:
        return folder, None
    target, where = beside(folder, alias.alias.name, "alias"), f"{folder} is an alias of {alias.alias.name!r}"
    if read_alias(target) is not None:
        raise PolzooError(f"{where}, which is an alias itself; name the checkpoint with the tensors")
    found = read_config(target).weights_sha256
    if found != alias.alias.sha256:
        raise PolzooError(f"{where}, whose weights have changed: {str(found)[:12]}…, not {alias.alias.sha256[:12]}…")
    return target, alias


def effective(folder: Path) -> Config:
    """The config of a checkpoint folder; of an alias its target's, with what the alias says instead."""
    target, alias = follow(folder)
    config = read_config(target)
    if alias is None:
        return config
    model = {**config.model, "update": specs.part_to_dict("update", specs.parse_part("update", alias.execution))}
    own = {key: getattr(alias, key) for key in ("summary", "licence", "execution") if getattr(alias, key)}
    return config.model_copy(update={**own, "model": model})


def beside(folder: Path, name: str, what: str) -> Path:
    """The folder that a checkpoint's config names: one of that name beside it, else what the name means anywhere.

    What came from the Hub may name what is public and nothing else: its config is somebody else's, and no path in it
    is followed.

    Raises:
        PolzooError: there is none, or it may not be named; ``what`` says what the checkpoint is.
    """
    where = f"{folder} is {with_article(what)} of {shorten(name)!r}"
    near = Path(os.path.realpath(folder)).parent / name
    if is_snapshot(folder):
        name = public(name) or ""
        if not name:
            raise PolzooError(f"{where}; what comes from the Hub may name a published model or org/name there alone")
    elif _NAME.fullmatch(name) and (near / CONFIG).is_file():
        return near
    try:
        return find(name)
    except PolzooError as error:
        raise PolzooError(f"{where}, which is not here: {error}") from error


def public(name: str) -> str | None:
    """What a name is to everybody, on any machine: a published model, or ``hf:ORG/NAME``; None if it is neither."""
    if "/" not in name and name in cards.list_models():
        return name
    address = name.removeprefix("hf:")
    return f"hf:{address}" if hub.ADDRESS.fullmatch(address) and ".." not in address else None


def find(name: str | os.PathLike[str], *, refresh: bool = False) -> Path:
    """The folder of a checkpoint, an alias's own.

    ``dir:PATH`` and ``hf:ORG/NAME[@REVISION]`` say what they are. Otherwise a name with a separator is a path if
    there is one, and a name without is never the working directory's: published models, then the Hub.

    Args:
        refresh: of what is on the Hub, ask there what the revision is now, and check what the cache has.

    Raises:
        PolzooError: there is no such checkpoint (with the nearest match), or it cannot be fetched.
    """
    if isinstance(name, os.PathLike):
        return _folder(os.fspath(name))
    if name.startswith("dir:"):
        return _folder(name.removeprefix("dir:"))
    if name.startswith("hf:"):
        return _fetch(name.removeprefix("hf:"), refresh)
    path = _path(name)
    if path is not None and path.exists():
        return _folder(name)
    name = name.rstrip("/")  # as a shell completes it
    path = _path(name)
    found = {card.name: card.source for card in cards.checkpoints()}
    if name in found:
        return _published(name, found[name], refresh)
    if path is not None:
        if name.startswith((".", "/", "~")) or not hub.ADDRESS.fullmatch(name):
            raise PolzooError(f"there is no folder {shorten(name)!r}")
        return _fetch(name, refresh)
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
        also = f"; a repository on the Hub is written hf:{text}" if hub.ADDRESS.fullmatch(text) else ""
        if (path / "checkpoint" / CONFIG).exists():  # a run of `polzoo train`
            also = f"; the checkpoint of this run is {os.path.join(text, 'checkpoint')}"
        raise PolzooError(f"the folder {shorten(text)!r} is no checkpoint: it has no {CONFIG}{also}")
    return path


def _published(name: str, source: Path | Entry, refresh: bool) -> Path:
    if isinstance(source, Path):
        return source
    folder = source.folder()
    if folder is None:
        folder = _fetch(source.target.removeprefix("hf:"), refresh)
        found = digest(inside(folder, WEIGHTS))
        if found != source.sha256:
            raise PolzooError(
                f"checkpoint {name!r}: the weights of {source.target} have sha256 {found[:12]}…, "
                f"registered is {str(source.sha256)[:12]}…; they are not the ones that {source.distribution} published"
            )
    return folder


def _fetch(address: str, refresh: bool) -> Path:
    repo_id, revision = hub.parse(address)
    return hub.fetch(repo_id, revision, refresh=refresh)


def _hint(name: str) -> str:
    return f" (the folder of that name here is ./{name} or dir:{name})" if _is_folder(name) else ""


def _is_folder(name: str) -> bool:
    try:
        return bool(name) and Path(name).is_dir()
    except (OSError, ValueError):
        return False
