"""``polzoo list``, ``info``, ``plugins``, and how the command line fails."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from polzoo import cards, list_models
from polzoo.cli.app import COMMANDS, app, main
from polzoo.errors import PolzooError
from polzoo.hookspecs import hookimpl
from polzoo.registry import Registry, registry

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """``main`` in this process, with the built-ins alone and two model cards."""
    zoo = Registry.installed([])
    modules = ("polzoo.registry", "polzoo.cards", "polzoo.cli.list", "polzoo.cli.info", "polzoo.cli.plugins")
    for module in modules:
        importlib.import_module(module)  # first, or a module imported below would keep the stand-in for good
    for module in modules:
        __import__(module)
        monkeypatch.setattr(f"{module}.registry", lambda: zoo)
    found = {}
    for name, text in {
        "good-one": '{"summary": "a good one", "licence": "MIT", "iterations": 4}',
        "broken": "{",
    }.items():
        found[name] = tmp_path / name
        found[name].mkdir()
        (found[name] / "config.json").write_text(text)
    monkeypatch.setattr(cards, "folders", lambda: found)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        out, err = capsys.readouterr()
        return code, out, err

    call.zoo = zoo  # type: ignore[attr-defined]
    return call


def test_list(run: Run) -> None:
    code, out, err = run("list")
    assert (code, err) == (0, "")
    assert all(
        word in out for word in ("backbones\n", "  raft-lite ", "MIT", "checkpoints\n", "  good-one ", "a good one")
    )
    assert out.index("raft") < out.index("v2c") < out.index("good-one")
    assert max(map(len, out.splitlines())) <= 140


def test_every_recipe_that_train_takes_by_name_is_listed(run: Run) -> None:
    from polzoo.recipes.config import find

    rows = [row for row in json.loads(run("list", "recipes", "--json")[1]) if row["kind"] == "recipe-file"]
    root = Path(__file__).parents[2]
    shipped = {file for place in ("polzoo/recipes/files", "recipes") for file in (root / place).glob("*.toml")}
    assert {find(row["name"]) for row in rows} == shipped and len(rows) == len(shipped) > 9
    assert all(row["summary"] for row in rows if row["name"].startswith(("raft-stereo", "polstereo")))
    assert "recipe files (polzoo train NAME)\n" in run("list")[1]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["updates"], ["dense", "flashgru"]),
        (["fusions", "v2*"], ["v2", "v2a", "v2b", "v2c", "v2d", "v2e"]),
        (["raft*"], ["raft", "raft-lite"]),
        (["recipes", "*-stereo"], ["raft-stereo"]),
        (["lite"], ["raft-lite"]),
        (["checkpoints"], ["good-one", "broken"]),
        (["fusion", "nothing"], []),
    ],
)
def test_list_json(run: Run, arguments: list[str], names: list[str]) -> None:
    code, out, _ = run("list", *arguments, "--json")
    rows = json.loads(out)
    shown = [row["name"] for row in rows if "recipes" in arguments or row["kind"] != "recipe-file"]
    assert code == 0 and shown == names
    assert all(set(row) == {"kind", "name", "licence", "summary", "distribution"} for row in rows)


def test_list_shows_where_a_component_comes_from(run: Run) -> None:
    def fusions(register):
        register("v2c", "theirs:V2C", summary="theirs", licence="BSD")

    def checkpoints(register):
        register("good-one", "theirs:cards/one", summary="theirs too", licence="BSD")

    made = types.ModuleType("theirs")
    made.fusions, made.checkpoints = hookimpl(fusions), hookimpl(checkpoints)  # type: ignore[attr-defined]
    run.zoo.add(made, name="theirs", distribution="their-dist", version="3")  # type: ignore[attr-defined]
    run.zoo.add(types.ModuleType("empty"), name="empty")  # type: ignore[attr-defined]
    _, out, err = run("list")
    assert "  their-dist/v2c " in out and "theirs [their-dist]" in out
    assert "  their-dist/good-one " in out
    assert err == "polzoo: plugins with errors: empty; see polzoo plugins\n"
    _, out, _ = run("plugins")
    assert "theirs (their-dist 3)\n  fusions: their-dist/v2c\n  checkpoints: good-one\n" in out
    assert "empty (empty)\n  error: plugin 'empty' has no function marked" in out
    assert list_models("*good*") == ["good-one", "their-dist/good-one"]
    code, out, _ = run("info", "fusion=their-dist/v2c")
    assert code == 0 and "theirs:V2C" in out and "no options" in out
    assert run("info", "their-dist/good-one")[0] == 2


def test_plugins_json(run: Run) -> None:
    code, out, _ = run("plugins", "--json")
    (row,) = json.loads(out)
    assert code == 0 and row["name"] == "polzoo" and row["components"]["update"] == ["dense", "flashgru"]
    assert row["error"] is None


def test_info_of_a_component(run: Run) -> None:
    code, out, _ = run("info", "v2c")
    assert code == 0
    for word in ("fusion v2c", "polzoo.fusions.v2c:StereoPolVolumeV2C", "MIT", 'schedule = "aligned"', "int, 1 to 6"):
        assert word in out
    assert "Po-Ting Lin, blueprints, potinglin.org/blueprints" in out and "\nneeds " not in out
    assert "\nneeds    pip install 'polzoo[timm]'\n" in run("info", "repvit")[1]


def test_info_of_a_spec(run: Run) -> None:
    code, out, _ = run("info", "v2c(schedule='literal')+raft-lite")
    assert code == 0 and out.startswith('raft-lite+v2c(schedule="literal")+dense\n')
    assert 'name = "v2c"' in out and "corr_levels = 4" in out


def test_info_of_a_checkpoint(run: Run) -> None:
    code, out, _ = run("info", "good-one")
    assert code == 0 and "checkpoint good-one: a good one" in out and '"iterations": 4' in out
    code, _, err = run("info", "broken")
    assert code == 2 and "config.json cannot be read: JSONDecodeError" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lst"], ["unknown command 'lst'", "did you mean 'list'?", "Allowed: analyze, bench"]),
        (["list", "--jsn"], ["--jsn", "see polzoo list --help"]),
        (["--jsn"], ["--jsn", "see polzoo --help"]),
        (["list", "fusoin"], ["'fusoin'", "did you mean 'fusion'?"]),
        (["list", "fusoin", "v2c"], ["unknown kind 'fusoin'", "did you mean 'fusion'?"]),
        (["list", "a", "b", "c"], ["unexpected extra argument"]),
        (["info"], ["NAME"]),
        (["info", "raff"], ["unknown name 'raff'", "did you mean 'raft'?"]),
        (["info", "fusion=raft"], ["unknown fusion 'raft'", "'raft' is a backbone"]),
        (["info", "fusio=raft"], ["unknown kind 'fusio'", "did you mean 'fusion'?"]),
        (["info", "raft(gru=2)"], ["unknown option of backbone 'raft'", "did you mean 'gru_levels'?"]),
    ],
)
def test_errors_are_one_line(run: Run, arguments: list[str], words: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("polzoo: error: ") and err.count("\n") == 1
    assert all(word in err for word in words), err


def test_help_names_every_command_without_importing_it(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0 and all(f"  {name} " in out and line in out for name, (_, line) in COMMANDS.items())
    assert run() == (0, out, "")
    assert run("--version")[1].startswith("polzoo, version ")


@pytest.mark.parametrize("name", ["list", "info", "plugins"])
def test_the_table_says_what_the_command_says(name: str) -> None:
    found = app.get_command(click.Context(app), name)
    assert found is not None and found.short_help == COMMANDS[name][1]


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt(), 130), (PolzooError("no\ngood"), 2), (click.ClickException("no"), 2)]
)
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int) -> None:
    @click.command()
    def failing() -> None:
        raise raised

    monkeypatch.setattr(registry(), "_commands", {"failing": failing})
    assert main(["failing"]) == code


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def failing() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(registry(), "_commands", {"failing": failing})
    with pytest.raises(ZeroDivisionError):
        main(["failing"])


def test_a_command_may_return_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry(), "_commands", {"three": click.Command("three", callback=lambda: 3)})
    assert main(["three"]) == 3


def test_a_closed_pipe_is_quiet() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "polzoo", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "POLZOO_PLUGINS": "", "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=60) != 0


def test_cards_are_found_in_a_checkout_and_in_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cards, "__file__", str(tmp_path / "polzoo" / "cards.py"))
    for root in (tmp_path / "model_cards", tmp_path / "polzoo" / "_cards"):
        (root / f"in{root.name}").mkdir(parents=True)
        (root / f"in{root.name}" / "config.json").write_text("{}")
        (root / "no-config").mkdir()
    assert list(cards.folders()) == ["in_cards"]
    (tmp_path / "pyproject.toml").touch()
    assert list(cards.folders()) == ["inmodel_cards"]
