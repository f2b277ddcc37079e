"""A table on a page of documentation: what stands between two marks is made anew, the rest stays."""

from __future__ import annotations

from pathlib import Path

from polzoo.data.files import read_bytes, write_bytes
from polzoo.errors import PolzooError

Marks = tuple[str, str]


def renew(page: Path, marks: Marks, text: str) -> None:
    """Put ``text`` between the page's marks. Raises PolzooError where there are none."""
    before, after = around(page, marks)
    write_bytes(page, f"{before}{marks[0]}\n{text}\n{marks[1]}{after}".encode())


def around(page: Path, marks: Marks) -> tuple[str, str]:
    """What stands before and after the page's marks. Raises PolzooError where there are none."""
    text = read_bytes(page).decode("utf-8", "replace")
    before, first, rest = text.partition(marks[0])
    _, second, after = rest.partition(marks[1])
    if not first or not second:
        raise PolzooError(f"{page} has no table to renew: the lines {marks[0]!r} and {marks[1]!r} must stand around it")
    return before, after
