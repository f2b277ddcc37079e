"""Recipes made of other recipes: ``base = "supervised"`` in a file, ``--set options.lr=1e-4`` on the command line."""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polzoo.data.files import read_bytes
from polzoo.errors import PolzooError

Table = dict[str, Any]

SOURCES = {"from", "recipe"}
"""A table ``init`` with one of these replaces that of the base; the entries of other tables are added to it."""


def gather(path: Path, find: Callable[[str], Path], below: tuple[Path, ...] = ()) -> Table:
    """The contents of a recipe file over those of its base, over those of that one's base, and so on.

    Args:
        find: the file that a name or a path stands for. A relative path is relative to the file that says it.

    Raises:
        PolzooError: no TOML, a base that is not there, or one that comes back to itself.
    """
    path = Path(os.path.abspath(path))
    if path in below:
        raise PolzooError(f"recipe {below[0]}: its bases come back to {path.name}")
    try:
        table = tomllib.loads(read_bytes(path).decode("utf-8"))
    except (ValueError, RecursionError) as e:
        raise PolzooError(f"recipe {path} is not valid TOML: {e}") from None
    base = table.pop("base", None)
    if base is None:
        return table
    if not isinstance(base, str):
        raise PolzooError(f"recipe {path}: base is the name or the path of a recipe, not {base!r}")
    try:
        under = gather(path.parent / find(base), find, (*below, path))
    except PolzooError as e:
        raise PolzooError(f"recipe {path}: base: {e}" if not below else str(e)) from None
    return merge(under, table)


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """``over`` on top of ``under``: tables are merged, see :data:`SOURCES`; everything else is replaced."""
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        other = both and key == "init" and SOURCES & value.keys()
        merged[key] = merge(merged[key], value) if both and not other else value
    return merged


def flat(table: Mapping[str, Any], under: str = "") -> Table:
    """A table with the keys of its inner tables written in full: ``{"options.lr": 1e-4}``."""
    found: Table = {}
    for key, value in table.items():
        found |= flat(value, f"{under}{key}.") if isinstance(value, Mapping) else {under + key: value}
    return found


def settings(pairs: Sequence[str]) -> Table:
    """``["options.lr=1e-4", "model=raft-lite"]`` as one table; values are TOML, or else text.

    Raises PolzooError for what is no ``KEY=VALUE``, and for a key that is given twice.
    """
    try:
        return tomllib.loads("\n".join(map(_line, pairs)))
    except ValueError as e:
        raise PolzooError(f"--set: {e}") from None


def _line(pair: str) -> str:
    key, equals, value = pair.partition("=")
    if not equals or not key.strip():
        raise PolzooError(f"--set takes KEY=VALUE, such as options.lr=1e-4, not {pair!r}")
    for line in (f"{key} = {value}", f"{key} = {json.dumps(value.strip())}"):  # what is no TOML is a string unquoted
        with contextlib.suppress(ValueError, RecursionError):
            if tomllib.loads(line) and "\n" not in line:
                return line
    raise PolzooError(f"--set: {key.strip()!r} is no key of a recipe")
