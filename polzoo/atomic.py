"""Writing whole or not at all: folders that appear at once, and no trace of what failed.

What a killed writer leaves is named after its process; the next write into the same folder takes it away.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polzoo.errors import PolzooError

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h

_HERE = re.sub(r"[^\w.-]", "", socket.gethostname())
_HIDDEN = re.compile(rf"\.(?P<name>.+)\.(?P<pid>\d+)@{re.escape(_HERE)}@\w+(\.old)?")


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Make the folder that ``target`` is to lie in and let the block write; a failure takes new folders away again.

    Raises PolzooError when the disk is full or may not be written.
    """
    try:
        new = [parent for parent in target.parents if not parent.exists()]
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield
        except BaseException:
            with contextlib.suppress(OSError):  # the innermost first; one that others wrote into stays
                for parent in new:
                    parent.rmdir()
            raise
    except OSError as e:
        raise PolzooError(f"cannot write {target}: {e.strerror or e}") from e


@contextmanager
def folder(target: Path) -> Iterator[Path]:
    """Write into the folder that is yielded; on leaving it becomes ``target``, replacing what was there.

    Everything is flushed to disk before the rename, and the old folder goes only after it. An exception leaves
    ``target`` as it was and nothing beside it. Raises PolzooError when the disk is full or may not be written.
    """
    target = Path(target).absolute()
    with writing(target):
        sweep(target.parent)
        work = Path(tempfile.mkdtemp(prefix=hidden(target), dir=target.parent))
        try:
            yield work
            _flush(work)
            _swap(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def hidden(target: Path) -> str:
    """How the name of what will become ``target`` begins: hidden, and saying who writes it."""
    return f".{target.name[:100]}.{os.getpid()}@{_HERE}@"


def sweep(parent: Path) -> None:
    """Delete what processes of this machine that are gone were writing in a folder.

    A folder that one of them had just put aside is the only copy where its successor never came: both stay.
    """
    with contextlib.suppress(OSError):
        left = {path: found for path in parent.iterdir() if (found := _HIDDEN.fullmatch(path.name))}
        for path, found in left.items():
            work = path.with_name(path.name.removesuffix(".old"))
            only = work.with_name(work.name + ".old") in left and not (parent / found["name"]).exists()
            if only or _alive(int(found["pid"])):
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _alive(pid: int) -> bool:
    if os.name != "posix":  # elsewhere there is no harmless way to ask
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


def _flush(work: Path) -> None:
    for path in [*work.rglob("*"), work]:
        os.chmod(path, 0o755 if path.is_dir() else 0o644)  # what the temporary folder and safetensors make is private
        _sync(path)


def _swap(work: Path, target: Path) -> None:
    """Put ``work`` where ``target`` is, in one step where the system can exchange two folders."""
    if not target.exists():
        os.rename(work, target)
    elif not _exchange(work, target):
        old = work.with_name(work.name + ".old")
        os.rename(target, old)
        try:
            os.rename(work, target)
        except BaseException:  # an interrupt, too
            os.rename(old, target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    with contextlib.suppress(OSError):  # the folder is in place; not every file system can sync its parent
        _sync(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two paths by Linux's ``renameat2(RENAME_EXCHANGE)``; False where there is no such call."""
    try:
        call = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError):
        return False
    return call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
