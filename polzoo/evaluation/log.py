"""The pairs that an evaluation has finished, one JSON line each, so that a killed run goes on where it was.

Every process of a run writes a file of its own. The first line says what is evaluated; a last line that a kill cut off
is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polzoo import atomic
from polzoo.data.files import write_bytes
from polzoo.errors import PolzooError, one_line

Record = dict[str, Any]


class Log:
    """``folder/pairs-RANK.jsonl``: what this process has measured, after what any process of earlier runs had."""

    def __init__(self, folder: Path, what: Mapping[str, Any], rank: int = 0) -> None:
        """
        Args:
            folder: made with the first line.
            what: all that the figures depend on; a folder that holds another evaluation's lines is refused.
            rank: of this process.

        Raises:
            PolzooError: the folder holds another evaluation or damaged lines, or cannot be read.
        """
        self.folder, self.what, self.path = folder, json.loads(json.dumps(what)), folder / f"pairs-{rank}.jsonl"
        self._begun = False

    def read(self) -> dict[int, Record]:
        """Index → record of every pair that is finished."""
        found: dict[int, Record] = {}
        for path in sorted(self.folder.glob("pairs-*.jsonl")):
            head, *records = _parsed(path) or [self.what]
            if head != self.what:
                differs = [key for key in {**head, **self.what} if head.get(key) != self.what.get(key)]
                raise PolzooError(f"{path} is of another evaluation (other {', '.join(differs)}); name another --out")
            found |= {record["index"]: record for record in records}
        return found

    def write(self, record: Record) -> None:
        """Append a record and flush it to the disk; the first comes with all that is above it, or not at all."""
        line = json.dumps(record) + "\n"
        if not self._begun:
            before = (_whole(self.path) if self.path.exists() else []) or [json.dumps(self.what) + "\n"]
            write_bytes(self.path, "".join([*before, line]).encode())
            self._begun = True
            return
        with atomic.writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())


def _parsed(path: Path) -> list[Record]:
    """What is evaluated, then a record per pair, of the lines that end; a PolzooError where one is neither."""
    try:
        lines = [json.loads(line) for line in _whole(path)]
    except (ValueError, RecursionError) as error:
        raise PolzooError(f"{path} is damaged ({one_line(error)}); delete it or name another --out") from error
    if not all(isinstance(line, dict) and (place == 0 or "index" in line) for place, line in enumerate(lines)):
        raise PolzooError(f"{path} is damaged (a line is no record of a pair); delete it or name another --out")
    return lines


def _whole(path: Path) -> list[str]:
    """The lines of a file that end."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise PolzooError(f"cannot read {path}: {error}") from error
    return [line for line in lines if line.endswith("\n")]
