"""Plugins are isolated: whatever one of them does, it is reported by name and the rest of the zoo works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import polzoo
from polzoo import registry as module
from polzoo.components import Entry, kind_of
from polzoo.errors import PolzooError
from polzoo.hookspecs import HookimplMarker, hookimpl
from polzoo.options import Options
from polzoo.registry import PluginInfo, Registry, registry


class FakeOptions(Options):
    size: int = 1


class FakePart:
    Inner = int


OK: dict[str, Any] = {"summary": "a part", "licence": "MIT"}


def plugin(hook: Callable[..., Any] | None = None, name: str = "fusions", **rest: Any) -> types.ModuleType:
    """A plugin module with one hook."""
    made = types.ModuleType("fake")
    if hook is not None:
        setattr(made, name, hookimpl(hook))
    for attribute, value in rest.items():
        setattr(made, attribute, value)
    return made


def registering(*names: str, hook: str = "fusions", target: str = "nowhere:Part") -> types.ModuleType:
    def implementation(register: Any) -> None:
        for name in names:
            register(name, target, **OK)

    return plugin(implementation, hook)


def added(broken: Any) -> tuple[Registry, PluginInfo]:
    """A registry with the built-ins, a good plugin before, the broken one, and a good one after."""
    zoo = Registry.installed([])
    zoo.add(registering("before"), name="good-before")
    info = zoo.add(broken, name="broken")
    zoo.add(registering("after"), name="good-after")
    return zoo, info


def boom(register: Any) -> None:
    register("half", "nowhere:Half", **OK)
    raise RuntimeError("boom\nand more")


def leave(register: Any) -> None:
    sys.exit(3)


def misspelt(register: Any) -> None:
    register("half", "nowhere:Half", **OK)


def wrong_argument(registry: Any) -> None: ...


def no_argument() -> None: ...


def optional_argument(register: Any = None) -> None: ...


def twice(register: Any) -> None:
    register("same", "nowhere:One", **OK)
    register("same", "nowhere:Two", **OK)


def two_hooks() -> types.ModuleType:
    made = registering("half", hook="backbones")
    made.metrics = hookimpl(boom)  # type: ignore[attr-defined]
    return made


def other_marker() -> types.ModuleType:
    made = types.ModuleType("fake")
    made.fusions = HookimplMarker("other")(lambda register: None)  # type: ignore[attr-defined]
    return made


class BadText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def bad_text(register: Any) -> None:
    raise BadText


BROKEN = {
    "hook raises": (plugin(boom), ["in fusions(): RuntimeError: boom and more"]),
    "second hook raises": (two_hooks(), ["in metrics(): RuntimeError: boom"]),
    "hook exits": (plugin(leave), ["in fusions(): SystemExit: 3"]),
    "error without text": (plugin(bad_text), ["in fusions(): BadText"]),
    "misspelt hook": (plugin(misspelt, "fusoins"), ["'broken'", "'fusoins'", "did you mean 'fusions'?", "backbones"]),
    "wrong argument": (plugin(wrong_argument), ["'broken'", "fusions(registry) must be fusions(register)"]),
    "no argument": (plugin(no_argument), ["fusions() must be fusions(register)"]),
    "optional argument": (plugin(optional_argument), ["fusions() must be fusions(register)"]),
    "wrong argument of commands": (plugin(misspelt, "commands"), ["commands(register) must be commands(app)"]),
    "wrong API": (registering("half"), ["'broken'", "POLZOO_API 2", "this polzoo has 1"]),
    "no hook at all": (types.ModuleType("empty"), ["'broken'", "@polzoo.hookimpl", "the hooks are backbones"]),
    "undecorated hook": (other_marker(), ["@polzoo.hookimpl", "its fusions() lacks the decorator"]),
    "not a plugin": (7, ["@polzoo.hookimpl"]),
    "the same name twice": (plugin(twice), ["'broken'", "fusion 'same' is registered twice"]),
}
BROKEN["wrong API"][0].POLZOO_API = 2


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_named_and_the_rest_works(case: str) -> None:
    broken, words = BROKEN[case]
    zoo, info = added(broken)
    assert info.error is not None and "\n" not in info.error and len(info.error) <= 300
    assert all(word in info.error for word in words), info.error
    assert info.components == () and zoo.plugins[2] == info
    assert [one.name for one in zoo.plugins if one.error] == ["broken"]
    assert {"none", "v2c", "before", "after"} <= {entry.key for entry in zoo.entries("fusion")}
    assert zoo.find("fusion", "half") is zoo.find("backbone", "half") is zoo.find("fusion", "same") is None


@pytest.mark.parametrize("case", [case for case in BROKEN if "raises" in case or "exits" in case])
def test_strict_raises_the_original_error(case: str) -> None:
    with pytest.raises((RuntimeError, SystemExit), match=r"boom|3"):
        Registry(strict=True).add(BROKEN[case][0])


def test_a_name_that_is_not_found_hints_at_broken_plugins() -> None:
    zoo, _ = added(plugin(boom))
    with pytest.raises(PolzooError, match=r"unknown fusion 'half'.*plugins with errors: broken; see polzoo plugins"):
        zoo.get("fusion", "half")


RUBBISH: list[tuple[str, str, tuple[Any, ...], dict[str, Any], list[str]]] = [
    ("fusions", "upper case", ("Half", "a:B"), OK, ["'Half'", "lower-case"]),
    ("fusions", "slash", ("a/b", "a:B"), OK, ["'a/b'", "lower-case"]),
    ("fusions", "empty name", ("", "a:B"), OK, ["''", "lower-case"]),
    ("fusions", "line break", ("a\n", "a:B"), OK, ["lower-case"]),
    ("fusions", "number", (7, "a:B"), OK, ["7", "lower-case"]),
    ("fusions", "no colon", ("half", "a.B"), OK, ["half", "'a.B'", "'package.module:Class'"]),
    ("fusions", "a class", ("half", FakePart), OK, ["FakePart", "'package.module:Class'"]),
    ("fusions", "path", ("half", "a/b.py:C"), OK, ["'a/b.py:C'", "'package.module:Class'"]),
    (
        "fusions",
        "bad config",
        ("half", "a:B"),
        {**OK, "config": "a.b"},
        ["'a.b'", "'package.light_module:OptionsClass'"],
    ),
    ("fusions", "no summary", ("half", "a:B"), {"licence": "MIT"}, ["summary ''", "summary='…'"]),
    ("fusions", "no licence", ("half", "a:B"), {"summary": "s"}, ["licence ''", "licence='…'"]),
    ("fusions", "two lines", ("half", "a:B"), {**OK, "summary": "a\nb"}, ["'a\\nb'", "a line of text"]),
    ("fusions", "colours", ("half", "a:B"), {**OK, "summary": "\x1b[31mred"}, ["a line of text"]),
    ("fusions", "blank", ("half", "a:B"), {**OK, "summary": "  "}, ["a line of text"]),
    ("fusions", "not text", ("half", "a:B"), {**OK, "licence": 3}, ["licence 3"]),
    ("fusions", "unknown keyword", ("half", "a:B"), {**OK, "sumary": "s"}, ["'sumary'", "did you mean 'summary'?"]),
    ("fusions", "sha256", ("half", "a:B"), {**OK, "sha256": "0" * 64}, ["sha256", "only a checkpoint"]),
    ("fusions", "no target", ("half",), OK, ["TypeError", "register() missing", "'target'"]),
    ("checkpoints", "outside", ("half", "p:../x"), OK, ["'p:../x'", "'package:folder/in/package'"]),
    ("checkpoints", "absolute", ("half", "p:/x"), OK, ["'p:/x'"]),
    ("checkpoints", "config", ("half", "p:x"), {**OK, "config": "a:B"}, ["config.json"]),
    ("checkpoints", "no revision", ("half", "hf:org/name"), {**OK, "sha256": "0" * 64}, ["'hf:org/name@revision'"]),
    ("checkpoints", "no hash", ("half", "hf:org/name@main"), OK, ["sha256 None", "64 hexadecimal digits"]),
    ("checkpoints", "bad hash", ("half", "hf:o/n@main"), {**OK, "sha256": "xyz"}, ["'xyz'", "64 hexadecimal digits"]),
    ("checkpoints", "hash of a folder", ("half", "p:x"), {**OK, "sha256": "0" * 64}, ["config.json"]),
]


@pytest.mark.parametrize(("hook", "case", "arguments", "keywords", "words"), RUBBISH, ids=[row[1] for row in RUBBISH])
def test_rubbish_registrations(
    hook: str, case: str, arguments: tuple[Any, ...], keywords: dict[str, Any], words: list[str]
) -> None:
    def implementation(register: Any) -> None:
        register("fine", "p:x", **OK)
        register(*arguments, **keywords)

    zoo, info = added(plugin(implementation, hook))
    assert info.error is not None and "\n" not in info.error
    assert all(word in info.error for word in words), info.error
    assert zoo.find(kind_of(hook), "fine") is None


def test_a_registration_after_the_hook_returned_is_refused() -> None:
    kept = []
    zoo = Registry([plugin(lambda register: kept.append(register))])
    with pytest.raises(PolzooError, match="after its hook had returned"):
        kept[0]("late", "a:B", **OK)
    assert zoo.entries() == []


def test_repvit_alone_asks_for_an_extra():
    """With the extras hidden it alone cannot be imported: what is read from the source is what holds."""
    script = (
        "import sys; sys.modules |= dict.fromkeys(('timm', 'torchvision'))\n"
        "from polzoo.errors import PolzooError\nfrom polzoo.registry import Registry\n"
        "def works(entry):\n    try:\n        return bool(entry.load())\n"
        "    except PolzooError:\n        return False\n"
        "entries = [one for one in Registry.installed([]).entries() if one.kind != 'checkpoint']\n"
        "print([(one.name, one.extras()) for one in entries if one.extras() or not works(one)])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.stdout == "[('repvit', ['polzoo[timm]'])]\n", done.stderr


def test_a_chatty_plugin_keeps_standard_output_clean(capsys: pytest.CaptureFixture[str]) -> None:
    def implementation(register: Any) -> None:
        print("hello")

    Registry([plugin(implementation)])
    assert capsys.readouterr() == ("", "hello\n")


# ------------------------------------------------------------------------------------------------------------ clashes


def test_a_clash_never_overwrites() -> None:
    zoo = Registry.installed([])
    zoo.add(registering("v2c", target="theirs:V2C"), name="theirs", distribution="Polzoo.Theirs_X", version="2.0")
    assert zoo.get("fusion", "v2c").target == "polzoo.fusions.v2c:StereoPolVolumeV2C"
    assert zoo.get("fusion", "polzoo/v2c") == zoo.get("fusion", "v2c")
    second = zoo.get("fusion", "polzoo-theirs-x/v2c")
    assert (second.target, second.key, second.name) == ("theirs:V2C", "polzoo-theirs-x/v2c", "v2c")
    assert [entry.key for entry in zoo.entries("fusion", "*v2c")] == ["v2c", "polzoo-theirs-x/v2c"]
    assert zoo.plugins[-1].error is None and zoo.plugins[-1].components == (second,)


def test_without_a_clash_both_names_work() -> None:
    zoo = Registry()
    zoo.add(registering("mine"), name="one", distribution="dist")
    assert zoo.get("fusion", "dist/mine") == zoo.get("fusion", "mine")
    assert zoo.get("fusion", "mine").key == "mine"


def test_two_plugins_of_one_distribution_cannot_share_a_name() -> None:
    zoo = Registry()
    zoo.add(registering("mine"), name="one", distribution="dist")
    info = zoo.add(registering("other", "mine"), name="two", distribution="Dist")
    assert info.error is not None
    assert "plugin 'two': fusion 'mine' is registered by plugin 'one' of the same distribution 'dist'" in info.error
    assert [entry.key for entry in zoo.entries()] == ["mine"]


def test_the_same_name_in_two_kinds_is_no_clash() -> None:
    zoo = Registry([registering("x", hook="fusions"), registering("x", hook="updates")])
    assert {entry.kind: entry.key for entry in zoo.entries()} == {"fusion": "x", "update": "x"}


# ------------------------------------------------------------------------------------------------------------- lookup


def test_get_says_what_is_allowed() -> None:
    zoo = Registry.installed([])
    with pytest.raises(
        PolzooError, match=r"unknown backbone 'raft-lit'; did you mean 'raft-lite'\? Allowed: .*raft, raft"
    ):
        zoo.get("backbones", "raft-lit")
    with pytest.raises(PolzooError, match=r"unknown kind 'backbon'; did you mean 'backbone'\?"):
        zoo.get("backbon", "raft")
    with pytest.raises(PolzooError, match=r"'v2c' is a fusion"):
        zoo.get("backbone", "v2c")


def test_entries_by_kind_and_pattern() -> None:
    zoo = Registry.installed([])
    assert [entry.key for entry in zoo.entries("backbones", "raft*")] == ["raft", "raft-lite"]
    assert [entry.key for entry in zoo.entries(pattern="lite")] == ["raft-lite"]
    assert [entry.key for entry in zoo.entries("fusion", "raft?")] == []


def test_builtins_go_through_the_same_hooks() -> None:
    info = Registry.installed([]).plugins[0]
    assert (info.name, info.distribution, info.version) == ("polzoo", "polzoo", polzoo.__version__)
    assert info.error is None and len(info.components) >= 13


def test_the_process_has_one_registry() -> None:
    assert registry() is registry()
    assert polzoo.list_components("fusion") == registry().entries("fusion")


# ------------------------------------------------------------------------------------------------------------ loading


def entry(target: Any, config: Any = None, distribution: str = "theirs", kind: str = "fusion") -> Entry:
    return Entry(kind, "mine", target, config, "s", "MIT", distribution, key="mine")


def test_load_and_options() -> None:
    found = entry(f"{__name__}:FakePart.Inner", f"{__name__}:FakeOptions")
    assert found.load() is int and found.options() is FakeOptions
    assert entry("nowhere:Part").options() is Options


def test_load_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fake_needs.py").write_text("import timm_not_there.layers\n")
    (tmp_path / "fake_breaks.py").write_text("raise RuntimeError('boom')\n")
    with pytest.raises(
        PolzooError, match=r"fusion 'mine' of theirs cannot.*'timm_not_there'.*pip install 'timm_not_there'"
    ):
        entry("fake_needs:Part").load()
    with pytest.raises(PolzooError, match=r"'nowhere_fake' is not there; reinstall it: pip install .* theirs"):
        entry("nowhere_fake:Part").load()
    with pytest.raises(PolzooError, match=r"fusion 'mine' of theirs cannot be imported: RuntimeError: boom"):
        entry("fake_breaks:Part").load()
    monkeypatch.delitem(sys.modules, "fake_breaks", raising=False)
    with pytest.raises(RuntimeError, match="boom"):  # our own bugs keep their traceback
        entry("fake_breaks:Part", distribution="polzoo").load()
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    (tmp_path / "fake_sees.py").write_text("import torchvision\n")
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(PolzooError, match=r"nms does not exist; torchvision is broken here: .*'polzoo\[timm\]'"):
        entry("fake_sees:Part", distribution="polzoo").load()
    with pytest.raises(PolzooError, match=r"has no 'FakeParts'; did you mean 'FakePart'\?"):
        entry(f"{__name__}:FakeParts").load()
    with pytest.raises(PolzooError, match=r"not a subclass of polzoo.options.Options"):
        entry("a:B", f"{__name__}:FakePart").options()


def test_checkpoint_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fake_weights" / "cards" / "one").mkdir(parents=True)
    (tmp_path / "fake_weights" / "__init__.py").write_text("raise RuntimeError('must not be imported')")
    assert entry("fake_weights:cards/one", kind="checkpoint").folder() == tmp_path / "fake_weights" / "cards" / "one"
    assert entry("hf:org/name@main", kind="checkpoint").folder() is None
    for target in ("fake_weights:cards/two", "fake_absent:cards"):
        with pytest.raises(PolzooError, match="there is no folder"):
            entry(target, kind="checkpoint").folder()
    with pytest.raises(PolzooError, match=r"polzoo\.load"):
        entry("fake_weights:cards/one", kind="checkpoint").load()


def test_temporary_components() -> None:
    zoo = Registry.installed([])
    with zoo.temporary("fusions", "mine", FakePart, FakeOptions) as found:
        assert zoo.get("fusion", "mine") is found
        assert found.load() is FakePart and found.options() is FakeOptions
        with pytest.raises(PolzooError, match="already a fusion 'mine'"), zoo.temporary("fusion", "mine", int):
            pass
    assert zoo.find("fusion", "mine") is None
    with pytest.raises(PolzooError, match="lower-case"), zoo.temporary("fusion", "Mine", int):
        pass
    with pytest.raises(ZeroDivisionError), zoo.temporary("fusion", "mine", int):
        raise ZeroDivisionError
    assert zoo.find("fusion", "mine") is None
    with module.temporary("metric", "mine", FakePart):
        assert registry().get("metric", "mine").load() is FakePart


# ----------------------------------------------------------------------------------------------------------- commands


def command_plugin(*names: str, fail: bool = False) -> types.ModuleType:
    def commands(app: Any) -> None:
        for name in names:
            app.command(name)(lambda: None)
        if fail:
            raise RuntimeError("boom")

    return plugin(commands, "commands")


def test_commands_are_merged_whole_or_not_at_all() -> None:
    zoo = Registry()
    for name, made in {
        "good": command_plugin("first", "second"),
        "fails": command_plugin("third", fail=True),
        "taken": command_plugin("fourth", "list"),
        "again": command_plugin("first"),
        "last": command_plugin("fifth"),
    }.items():
        zoo.add(made, name=name)
    assert sorted(zoo.commands(taken={"list"})) == ["fifth", "first", "second"]
    errors = {info.name: info.error for info in zoo.plugins if info.error}
    assert errors == {
        "fails": "in commands(): RuntimeError: boom",
        "taken": "plugin 'taken': the command 'list' is taken; give it another name",
        "again": "plugin 'again': the command 'first' is taken; give it another name",
    }
    assert zoo.plugins[0].commands == ("first", "second")


def test_a_plugin_whose_commands_fail_keeps_its_components() -> None:
    made = registering("mine")
    made.commands = command_plugin("third", fail=True).commands  # type: ignore[attr-defined]
    zoo = Registry([made])
    assert zoo.commands() == {} and zoo.plugins[0].error == "in commands(): RuntimeError: boom"
    assert zoo.get("fusion", "mine") in zoo.plugins[0].components


# ------------------------------------------------------------------------------------------------- entry points, real


def install(root: Path, distribution: str, points: dict[str, str], **modules: str) -> None:
    """A distribution as pip leaves it: metadata, entry points, modules."""
    info = root / f"{distribution.replace('-', '_')}-1.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
    lines = "\n".join(f"{name} = {target}" for name, target in points.items())
    (info / "entry_points.txt").write_text(f"[polzoo]\n{lines}\n")
    for name, text in modules.items():
        (root / f"{name}.py").write_text("from polzoo import hookimpl\n" + text)


GOOD = """
@hookimpl
def fusions(register):
    register("{name}", "fake_net:Net", summary="a fake", licence="MIT")
@hookimpl
def commands(app):
    app.command("{name}-hello")(lambda: print("hello"))
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    install(tmp_path, "Fake_Good", {"good": "fake_good"}, fake_good=GOOD.format(name="zed"))
    install(tmp_path, "fake-clash", {"a-clash": "fake_clash"}, fake_clash=GOOD.format(name="v2c"))
    points = {"bad-import": "fake_bad", "bad-exit": "fake_exit", "bad-syntax": "fake_syntax", "bad-gone": "fake_gone:x"}
    install(
        tmp_path, "fake-bad", points, fake_bad="import nowhere", fake_exit="raise SystemExit('bye')", fake_syntax="def"
    )
    return tmp_path


def polzoo_cli(site: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), str(Path(polzoo.__file__).parents[1])])
    return subprocess.run(
        [sys.executable, "-m", "polzoo", *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_installed_plugins(site: Path) -> None:
    shown = polzoo_cli(site, "plugins", "--json")
    found = {row["name"]: row for row in json.loads(shown.stdout)}
    assert list(found) == ["polzoo", "a-clash", "bad-exit", "bad-gone", "bad-import", "bad-syntax", "good"]
    assert found["good"] == {
        "name": "good", "distribution": "fake-good", "version": "1.5",
        "components": {"fusion": ["zed"]}, "commands": ["zed-hello"], "heavy": [], "error": None,
    }  # fmt: skip
    assert found["a-clash"]["components"] == {"fusion": ["fake-clash/v2c"]}
    assert found["bad-import"]["error"] == "at import: ModuleNotFoundError: No module named 'nowhere'"
    assert found["bad-exit"]["error"] == "at import: SystemExit: bye"
    assert found["bad-syntax"]["error"].startswith("at import: SyntaxError: ")
    assert found["bad-gone"]["error"].startswith("at import: ModuleNotFoundError: ")

    shown = polzoo_cli(site, "list", "fusions")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in ("v2c", "zed", "fake-clash/v2c", "[fake-good]"))
    assert "plugins with errors: bad-exit, bad-gone, bad-import, bad-syntax" in shown.stderr
    assert polzoo_cli(site, "zed-hello").stdout == "hello\n"
    assert "zed-hello" in polzoo_cli(site, "--help").stdout


def test_polzoo_plugins_selects(site: Path) -> None:
    def names(chosen: str) -> dict[str, str | None]:
        rows = json.loads(polzoo_cli(site, "plugins", "--json", POLZOO_PLUGINS=chosen).stdout)
        return {row["name"]: row["error"] for row in rows}

    assert names("") == {"polzoo": None}
    assert names(" good,, a-clash") == {"polzoo": None, "a-clash": None, "good": None}
    wanted = names("god")
    assert list(wanted) == ["polzoo", "god"]
    assert "unknown plugin 'god'; did you mean 'good'?" in str(wanted["god"])


def test_polzoo_strict_raises(site: Path) -> None:
    shown = polzoo_cli(site, "list", POLZOO_STRICT="1", POLZOO_PLUGINS="bad-import")
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr and "No module named 'nowhere'" in shown.stderr
    assert polzoo_cli(site, "list", POLZOO_STRICT="1", POLZOO_PLUGINS="good").returncode == 0
    assert polzoo_cli(site, "list", POLZOO_STRICT="0", POLZOO_PLUGINS="bad-import").returncode == 0
    shown = polzoo_cli(site, "list", POLZOO_STRICT="1", POLZOO_PLUGINS="god")
    assert shown.returncode == 2 and shown.stderr.startswith("polzoo: error: unknown plugin 'god'")


def test_entry_points_are_taken_by_name() -> None:
    points = [EntryPoint(name, f"{__name__}:{value}", "polzoo") for name, value in (("z", "LAST"), ("a", "FIRST"))]
    zoo = Registry.installed(points)
    assert [info.name for info in zoo.plugins] == ["polzoo", "a", "z"]
    assert zoo.plugins[2].error is not None and "of the same distribution" in zoo.plugins[2].error
    assert zoo.get("fusion", "shared").target == "nowhere:First"


FIRST = registering("shared", target="nowhere:First")
LAST = registering("shared", target="nowhere:Last")
