"""What every result of a benchmark says of its making, and how it is written."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polzoo.data.files import write_bytes
from polzoo.evaluation import report


def made() -> dict[str, Any]:
    """When, by which command, and with which versions."""
    return {**report.made(), "command": shlex.join([Path(sys.executable).name, *sys.argv])}


def write(result: Mapping[str, Any], path: Path) -> None:
    """The result as JSON, whole or not at all."""
    write_bytes(path, (json.dumps(result, indent=1, ensure_ascii=False) + "\n").encode())
