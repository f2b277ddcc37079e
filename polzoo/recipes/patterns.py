"""Shell patterns over the names of parameters and modules: ``backbone.*``, ``*.norm?``."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from polzoo.errors import PolzooError, nearest


def matching(name: str, patterns: Iterable[str]) -> bool:
    """Whether any of the patterns matches the whole name; ``*`` crosses dots."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def require_each(key: str, patterns: Iterable[str], names: Iterable[str]) -> None:
    """Raise PolzooError where a pattern of a recipe's ``key`` matches none of the names: it was meant to."""
    names = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            tops = sorted({f"{name.partition('.')[0]}.*" for name in names} | set(names))
            raise PolzooError(f"{key}: {pattern!r} matches nothing in this model{nearest(pattern, tops)}")
