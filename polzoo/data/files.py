"""Bytes in and out of files: one clear line when a path is wrong, and never a half-written file."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from polzoo import atomic
from polzoo.errors import PolzooError, nearest

MAX_BYTES = 2**31
"""A larger file is refused before it is read."""

PathLike = str | os.PathLike[str]


def read_bytes(path: PathLike, limit: int = MAX_BYTES) -> bytes:
    """All bytes of a regular, non-empty file of at most ``limit`` (2 GiB).

    Raises:
        PolzooError: missing (with the nearest name in that folder), a folder, a device, empty, too large, unreadable.
    """
    file = Path(path)
    try:
        info = file.stat()
        if stat.S_ISDIR(info.st_mode):
            raise PolzooError(f"{file} is a folder, not a file")
        if not stat.S_ISREG(info.st_mode):
            raise PolzooError(f"{file} is not a regular file")
        if info.st_size == 0:
            raise PolzooError(f"{file} is empty")
        if info.st_size > limit:
            raise PolzooError(f"{file} has {info.st_size:,} bytes; at most {limit:,} are read")
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise missing(file) from None
    except OSError as error:
        raise PolzooError(f"cannot read {file}: {error.strerror or error}") from error
    except ValueError as error:  # a NUL in the name
        raise PolzooError(f"not a file name: {str(file)!r} ({error})") from error


def missing(file: Path) -> PolzooError:
    """The error for a file that is not there: which folder, and the nearest name in it."""
    try:
        names = os.listdir(file.parent)
    except OSError:
        return PolzooError(f"no such file: {file} (there is no folder {file.parent})")
    return PolzooError(f"no such file: {file}{nearest(file.name, names)}")


def write_bytes(path: PathLike, data: bytes) -> Path:
    """Write one file; it appears whole or not at all. See :func:`write_all`."""
    return write_all({path: data})[0]


def write_all(files: Mapping[PathLike, bytes]) -> list[Path]:
    """Write several files: each to a temporary name and flushed, and only when all are there renamed.

    Folders are created. Raises PolzooError when the disk is full or may not be written; then nothing was replaced
    unless a rename itself failed, and no temporary file or new folder is left.
    """
    targets = [Path(path) for path in files]
    with contextlib.ExitStack() as stack:
        work = [stack.enter_context(_temporary(Path(path), data)) for path, data in files.items()]
        for name, target in zip(work, targets, strict=True):
            with atomic.writing(target):
                os.replace(name, target)
    return targets


@contextlib.contextmanager
def _temporary(target: Path, data: bytes) -> Iterator[str]:
    """A flushed file beside ``target`` that holds ``data``; it is gone afterwards, unless it was renamed."""
    with atomic.writing(target):
        if target.is_dir():
            raise PolzooError(f"cannot write {target}: it is a folder")
        atomic.sweep(target.parent)
        handle, name = tempfile.mkstemp(prefix=atomic.hidden(target), dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(name, 0o644)
            yield name
        finally:
            Path(name).unlink(missing_ok=True)
