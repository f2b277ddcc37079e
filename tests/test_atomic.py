"""A folder appears whole or not at all, whatever fails on the way."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from polzoo import atomic
from polzoo.data import files
from polzoo.errors import PolzooError

FULL = OSError(28, "No space left on device")


def write(target: Path, text: str) -> None:
    with atomic.folder(target) as work:
        (work / "a.txt").write_text(text)
        (work / "inner").mkdir()
        (work / "inner" / "b.txt").write_text(text)


def contents(target: Path) -> dict[str, str]:
    return {str(p.relative_to(target)): p.read_text() for p in target.rglob("*") if p.is_file()}


def failing(call, when: int, error: BaseException):
    """``call`` that raises at its n-th use."""
    count = 0

    def inner(*args, **kwargs):
        nonlocal count
        count += 1
        if count == when:
            raise error
        return call(*args, **kwargs)

    return inner


def test_appears_with_its_parents_and_replaces(tmp_path):
    target = tmp_path / "x" / "y"
    write(target, "one")
    write(target, "two")
    assert contents(target) == {"a.txt": "two", "inner/b.txt": "two"}
    assert [p.name for p in target.parent.iterdir()] == ["y"]
    assert target.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyboardInterrupt(), FULL, PermissionError(13, "Permission denied")]
)
def test_an_exception_inside_leaves_everything_as_it_was(tmp_path, existed, error):
    target = tmp_path / "y"
    if existed:
        write(target, "old")
    with pytest.raises(PolzooError if isinstance(error, OSError) else type(error)), atomic.folder(target) as work:
        (work / "a.txt").write_text("half")
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["y"] * existed
    assert not existed or contents(target) == {"a.txt": "old", "inner/b.txt": "old"}


@pytest.mark.parametrize("existed", [False, True])
@pytest.mark.parametrize(
    ("where", "what", "when"),
    [(os, "fsync", 1), (os, "fsync", 4), (os, "chmod", 1), (os, "rename", 1), (os, "rename", 2)],
)
def test_a_failing_system_call_is_one_line_and_leaves_the_old(tmp_path, monkeypatch, existed, where, what, when):
    target = tmp_path / "y"
    if existed:
        write(target, "old")
    if (what, when, existed) == ("rename", 2, False):
        pytest.skip("a new folder takes one rename")
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)  # as where the system has no exchange
    monkeypatch.setattr(where, what, failing(getattr(where, what), when, FULL))
    with pytest.raises(PolzooError, match=r"cannot write .*y: No space left on device"):
        write(target, "new")
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["y"] * existed
    assert not existed or contents(target)["a.txt"] == "old"


def test_a_file_in_the_way_of_the_parents_is_one_line(tmp_path):
    (tmp_path / "x").write_text("a file")
    with pytest.raises(PolzooError, match="cannot write"):
        write(tmp_path / "x" / "y", "new")


CRASH = """
import os, sys
from pathlib import Path
from polzoo import atomic
when, rename, count = int(sys.argv[2]), os.rename, 0
def crash(a, b):
    global count
    count += 1
    if count == when: os._exit(9)
    rename(a, b)
    if count == -when: os._exit(9)
os.rename, atomic._exchange = crash, lambda *_: False
with atomic.folder(Path(sys.argv[1])) as work:
    (work / "a.txt").write_text("new")
"""


@pytest.mark.parametrize("when", [1, -1, 2, -2])
def test_a_killed_process_without_exchange_leaves_old_or_new_whole(tmp_path, when):
    """Killed before or after either rename: the old or the new folder is whole, at its place or hidden beside it."""
    target = tmp_path / "y"
    with atomic.folder(target) as work:
        (work / "a.txt").write_text("old")
    done = subprocess.run([sys.executable, "-c", CRASH, str(target), str(when)], cwd=Path(__file__).parents[1])
    assert done.returncode == 9
    whole = [contents(folder) for folder in tmp_path.iterdir()]
    assert {"a.txt": "old"} in whole or {"a.txt": "new"} in whole
    assert all(one in ({"a.txt": "old"}, {"a.txt": "new"}) for one in whole)
    if when in (1, -2):
        assert contents(target) == {"a.txt": "old" if when == 1 else "new"}


EXCHANGE = CRASH.replace(
    "os.rename, atomic._exchange = crash, lambda *_: False", "rename, atomic._exchange = atomic._exchange, crash"
)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two folders in one step")
@pytest.mark.parametrize(("when", "left"), [(1, "old"), (-1, "new")])
def test_a_killed_process_always_leaves_the_target_in_place(tmp_path, when, left):
    target = tmp_path / "y"
    with atomic.folder(target) as work:
        (work / "a.txt").write_text("old")
    done = subprocess.run([sys.executable, "-c", EXCHANGE, str(target), str(when)], cwd=Path(__file__).parents[1])
    assert done.returncode == 9
    assert contents(target) == {"a.txt": left}


def test_an_interrupt_between_the_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "y"
    write(target, "old")
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    monkeypatch.setattr(os, "rename", failing(os.rename, 2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        write(target, "new")
    monkeypatch.undo()
    assert contents(target)["a.txt"] == "old"


DIE = """
import os, sys
from pathlib import Path
from polzoo import atomic
from polzoo.data import files
target = Path(sys.argv[1])
if sys.argv[2] == "folder":
    with atomic.folder(target) as work:
        (work / "a.txt").write_text("half")
        os._exit(9)
os.replace = lambda *_: os._exit(9)
files.write_bytes(target, b"half")
"""


@pytest.mark.parametrize("kind", ["folder", "file"])
@pytest.mark.parametrize("name", ["y", "y" * 240])
def test_the_next_write_takes_away_what_a_killed_process_left(tmp_path, kind, name):
    code = subprocess.run([sys.executable, "-c", DIE, str(tmp_path / name), kind], cwd=Path(__file__).parents[1])
    assert code.returncode == 9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".y")
    write(tmp_path / "other", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["other"]


def test_what_a_living_process_or_another_machine_writes_stays(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    mine = f".y.{os.getpid()}@{atomic._HERE}@abcdefgh"
    others = [f".y.{gone.pid}@elsewhere@abcdefgh", ".y.abcdefgh", ".hidden", f"y.{gone.pid}@{atomic._HERE}@abcdefgh"]
    for name in (mine, *others):
        (tmp_path / name).mkdir()
    (tmp_path / f".y.{gone.pid}@{atomic._HERE}@abcdefgh").mkdir()
    with atomic.folder(tmp_path / "y") as work:
        (work / "a.txt").write_text("new")
        files.write_bytes(tmp_path / "z", b"z")
    assert {p.name for p in tmp_path.iterdir()} == {"y", "z", mine, *others}


def test_the_only_copy_of_a_folder_is_never_taken_away(tmp_path):
    """Killed between the two renames where the system cannot exchange: old and new stay until the target is there."""
    target = tmp_path / "y"
    write(target, "old")
    done = subprocess.run([sys.executable, "-c", CRASH, str(target), "2"], cwd=Path(__file__).parents[1])
    assert done.returncode == 9 and not target.exists()
    write(tmp_path / "other", "new")
    assert len(list(tmp_path.iterdir())) == 3
    write(target, "newer")
    write(tmp_path / "other", "newer")
    assert {p.name for p in tmp_path.iterdir()} == {"y", "other"}
