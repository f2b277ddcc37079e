"""The one kind of error a user sees: a single line that says what was wrong, what is allowed and the nearest match."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class PolzooError(Exception):
    """Bad input of any kind. The command line prints its message as one line and exits with code 2."""


def shorten(text: str, limit: int = 80) -> str:
    """``text`` cut to ``limit`` characters, so that an error quoting it stays one readable line."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def one_line(error: BaseException, limit: int = 300) -> str:
    """Any exception as one line: a PolzooError's message as it is, others with their type in front."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # a foreign exception's __str__ may itself be broken
        message = "(its message cannot be shown)"
    message = "".join(mark if mark.isprintable() else "\ufffd" for mark in message)  # no colours, no cleared screen
    if not isinstance(error, PolzooError):
        message = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return shorten(message, limit)


def home(path: str | os.PathLike[str]) -> Path:
    """The path with ``~`` replaced; a PolzooError where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise PolzooError(f"{os.fspath(path)!r}: {error}") from None


def nearest(token: object, allowed: Iterable[str]) -> str:
    """``"; did you mean 'v2c'?"`` when something in ``allowed`` is close to ``token``, else an empty string."""
    import difflib

    wanted, names = str(token)[:80], list(allowed)
    match = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5) or [
        name for name in names if len(wanted) > 1 and name.startswith(wanted)
    ]
    return f"; did you mean {match[0]!r}?" if match else ""


def unknown(what: str, token: object, allowed: Iterable[str], *, limit: int = 30) -> PolzooError:
    """The error for a name that is not in ``allowed``; ``what`` is the kind of thing that was looked for."""
    names = sorted(allowed)
    shown = ", ".join(names[:limit]) + (f", … ({len(names)} in all)" if len(names) > limit else "")
    return PolzooError(
        f"unknown {what} {shorten(str(token))!r}{nearest(token, names) or '.'} Allowed: {shown or 'none'}"
    )
