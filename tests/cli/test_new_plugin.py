"""``polzoo new-plugin``: what it writes keeps the contract as it stands."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

import polzoo
from polzoo.cli.app import COMMANDS, main
from polzoo.errors import PolzooError
from polzoo.registry import registry
from polzoo.scaffold import KINDS_TO_MAKE, make
from polzoo.testing import NotApplicable, checks

LINES = 40


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Makes a package of a kind and installs it as pip does: on the path, with metadata and entry points."""
    before = set(sys.modules)

    def call(kind: str) -> Path:
        root = make("polzoo-brand-new", kind, tmp_path)
        project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
        info = root / "polzoo_brand_new-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
        points = "\n".join(f"{name} = {value}" for name, value in project["entry-points"]["polzoo"].items())
        (info / "entry_points.txt").write_text(f"[polzoo]\n{points}\n")
        monkeypatch.syspath_prepend(root)
        monkeypatch.setenv("POLZOO_PLUGINS", "brand-new")
        registry.cache_clear()
        return root

    yield call
    registry.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("polzoo_brand_new"):
            del sys.modules[name]


def imported(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("made_test", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", [kind for kind in KINDS_TO_MAKE if kind != "command"])
def test_a_component_keeps_its_contract(kind: str, installed: Callable[[str], Path]) -> None:
    installed(kind)
    (info,) = [info for info in registry().plugins if info.name != "polzoo"]
    assert info.error is None and [str(entry.name) for entry in info.components] == ["brand-new"]
    found = checks(kind, "brand-new")
    if kind in ("fusion", "update"):  # a plugin's own test runs them all
        found = [check for check in found if str(check.subject) in OWN[kind]]
    elif kind == "backbone":
        found = [check for check in found if check.subject.keeps_defaults("fusion", "update")]
    passed = 0
    for check in found:
        try:
            check()
            passed += 1
        except NotApplicable:
            continue
    assert passed


OWN = {
    "fusion": ["raft-lite+brand-new+dense", "raft-lite+brand-new+flashgru"],
    "update": ["raft-lite+none+brand-new"],
}


def test_a_command_passes_its_test(
    tmp_path: Path, installed: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    test = imported(installed("command") / "tests" / "test_command.py")
    test.test_the_command_says_the_size(tmp_path, capsys)
    test.test_no_picture_is_one_line(capsys)


@pytest.mark.parametrize("kind", KINDS_TO_MAKE)
def test_what_is_written_is_short_and_light(kind: str, tmp_path: Path) -> None:
    root = make("polzoo-brand-new", kind, tmp_path)
    for file in root.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        compile(text, str(file), "exec")
        assert len(text.splitlines()) <= LINES and max(map(len, text.splitlines())) <= 120 and "$" not in text
    plugin = (root / "polzoo_brand_new" / "plugin.py").read_text(encoding="utf-8")
    tops = [line for line in plugin.splitlines() if line.startswith(("import ", "from "))]
    assert not any(heavy in line for line in tops for heavy in ("torch", "numpy", "cv2", "polzoo.parts"))
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert "POLZOO_STRICT=1" in readme and "polzoo publish" in readme and "$" not in readme


BAD = {
    "../x": "lower-case words joined by single dashes",
    "Upper": "lower-case words",
    "a--b": "lower-case words",
    "a_b": "lower-case words",
    "9lives": "lower-case words",
    "": "lower-case words",
    "x" * 81: "lower-case words",
    "json": "try 'polzoo-json'",
    "class": "try 'polzoo-class'",
    "torch": "try 'polzoo-torch'",
    "polzoo-7": "must begin with a letter",
    "polzoo-v2c": "there is a fusion 'v2c' already",
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_one_line(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new-plugin", name, "--kind", "fusion", "--into", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("polzoo: error: ") and BAD[name] in line
    assert not list(tmp_path.iterdir())


def test_what_is_there_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["new-plugin", "brand-new", "--kind", "metric", "--into", str(tmp_path)]
    assert main(arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert f"{tmp_path / 'brand-new'}: a metric that works" in capsys.readouterr().out
    assert main(arguments) == 2 and "is there already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *_: object, **__: object) -> None:
        if self.name == "plugin.py":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(PolzooError, match="No space left"):
        make("brand-new", "metric", tmp_path / "new" / "folder")
    assert not list(tmp_path.iterdir())


def test_the_table_says_what_the_command_says() -> None:
    from polzoo.cli.new_plugin import command

    assert COMMANDS["new-plugin"][1] == command.short_help


@pytest.mark.slow
def test_pip_installs_it_and_its_tests_pass(tmp_path: Path) -> None:
    """The three commands of the README, in an environment of its own that borrows this one's packages."""
    root = make("polzoo-brand-new", "dataset", tmp_path)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    (site,) = (tmp_path / "env" / "lib").glob("python*/site-packages")
    borrowed = Path(pytest.__file__).parents[1]
    (site / "borrowed.pth").write_text(
        f"import site; site.addsitedir({str(borrowed)!r})\n{Path(polzoo.__file__).parents[1]}\n"
    )
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "-e", str(root)], capture_output=True, text=True
    )
    if done.returncode and "hatchling" in done.stderr:
        pytest.skip("pip cannot fetch hatchling here")
    assert done.returncode == 0, done.stderr
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("POLZOO_", "PYTHON"))}
    for arguments in (["pytest", "-q", str(root)], ["polzoo", "plugins"]):
        done = subprocess.run([python, "-m", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "brand-new (polzoo-brand-new 0.1.0)\n  datasets: brand-new\n" in done.stdout
