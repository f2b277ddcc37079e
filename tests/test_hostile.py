"""Plugins and checkpoints that mean harm, or know no better: named in one line, and the rest of the zoo works.

Plain faults (raising, leaving, a misspelt hook, a wrong API, …) are in test_registry.py and test_bad_input.py, damaged
checkpoints in test_checkpoint.py, a Hub that lies in tests/hub/test_faults.py. Here is what takes more than a mistake.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import polzoo
from polzoo import checkpoint, config
from polzoo.checkpoint import load_folder, save
from polzoo.cli.app import main
from polzoo.config import WEIGHTS
from polzoo.errors import PolzooError
from polzoo.registry import MOST, Registry, list_components, registry

TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"
START = "from polzoo import hookimpl\n"
REGISTERED = 'summary="s", licence="MIT")\n'


@pytest.fixture
def site(tmp_path: Path) -> Callable[..., Path]:
    """Installs modules as the plugin ``hostile`` into a folder of its own, as pip would."""

    def call(plugin: str, **modules: str) -> Path:
        root = tmp_path / "site"
        info = root / "hostile-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Name: hostile\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[polzoo]\nhostile = hostile_plugin\n")
        for name, text in {"hostile_plugin": START + plugin, **modules}.items():
            (root / f"{name}.py").write_text(text)
        return root

    return call


@pytest.fixture
def here(site: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """The same in this process, beside the built-ins alone."""
    before = set(sys.modules)

    def call(plugin: str, **modules: str) -> None:
        monkeypatch.syspath_prepend(site(plugin, **modules))
        monkeypatch.setenv("POLZOO_PLUGINS", "hostile")
        registry.cache_clear()

    yield call
    registry.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("hostile"):
            del sys.modules[name]


def cli(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """polzoo in a process of its own, as a person starts it."""
    path = os.pathsep.join([str(root), str(Path(polzoo.__file__).parents[1])])
    return subprocess.run(
        [sys.executable, "-m", "polzoo", *arguments],
        env={**os.environ, "PYTHONPATH": path, "POLZOO_PLUGINS": "hostile"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def error() -> str | None:
    """What is said of the plugin; the built-ins are whole beside it."""
    ours, theirs = registry().plugins
    assert ours.error is None and len(ours.components) > 40
    return theirs.error


# ------------------------------------------------------------------------------------------------------------- plugins


def test_a_hundred_thousand_names(here: Callable[..., None]) -> None:
    here(
        "@hookimpl\ndef fusions(register):\n"
        '    for i in range(10**5):\n        register(f"name-{i}", "nowhere:X", ' + REGISTERED
    )
    began = time.process_time()
    assert error() == f"plugin 'hostile' registers more than {MOST:,} components"
    assert time.process_time() - began < 5 and not list_components("fusion", "name-*")


def test_a_loop_that_takes_no_refusal(here: Callable[..., None]) -> None:
    here(
        "@hookimpl\ndef fusions(register):\n"
        "    for i in range(3000):\n        try:\n"
        '            register(f"name-{i}", "nowhere:X", ' + REGISTERED + "        except Exception:\n            pass\n"
    )
    assert error() is None and len(list_components("fusion", "name-*")) == MOST


CIRCLES = {
    "at import": "import polzoo\npolzoo.list_components()\n",
    "in a hook": "import polzoo\n@hookimpl\ndef fusions(register):\n    polzoo.list_components()\n",
    "by building": 'import polzoo\n@hookimpl\ndef fusions(register):\n    polzoo.build("raft-lite")\n',
}


@pytest.mark.parametrize("circle", CIRCLES)
def test_a_plugin_that_asks_for_the_zoo_while_it_is_found(circle: str, here: Callable[..., None]) -> None:
    here(CIRCLES[circle])
    assert "what is installed is still being found" in str(error())
    assert list_components("fusion", "v2c")  # and the zoo is there for everyone else


def test_modules_that_import_each_other(here: Callable[..., None]) -> None:
    here("from hostile_other import x\ny = 1\n", hostile_other="from hostile_plugin import y\nx = 1\n")
    assert str(error()).startswith("at import: ImportError: cannot import name 'y' from partially initialized")


def test_torch_at_the_top_is_named_as_slow(site: Callable[..., Path]) -> None:
    root = site(
        "import torch, numpy\n@hookimpl\ndef fusions(register):\n    pass\n",
        torch="import numpy\n",
        numpy="",
    )  # stand-ins: what counts is that a plugin imports them
    shown = cli(root, "plugins")
    assert "\nhostile (hostile 1.0)\n  slow: imports torch, numpy before it is used\n" in shown.stdout
    (row,) = [row for row in json.loads(cli(root, "plugins", "--json").stdout) if row["name"] == "hostile"]
    assert row["heavy"] == ["torch", "numpy"] and row["error"] is None


def test_what_a_plugin_prints_never_reaches_standard_output(site: Callable[..., Path]) -> None:
    root = site(
        'print("import")\n@hookimpl\ndef fusions(register):\n    print("hook")\n    '
        'register("half", "nowhere:X", ' + REGISTERED + '@hookimpl\ndef commands(app):\n    print("commands")\n'
    )
    for arguments in (["list", "--json"], ["plugins", "--json"]):
        shown = cli(root, *arguments)
        assert json.loads(shown.stdout) and shown.returncode == 0
        assert shown.stderr.splitlines()[:2] == ["import", "hook"]


CHATTY = """
print("module")
import numpy as np
from polzoo.data.sample import Sample
from polzoo.interfaces import Fusion
class Talks:
    def __init__(self, options):
        print("made")
class Base(Talks):
    def __call__(self, left, right):
        print("run")
        return np.ones(left.shape[1:], np.float32)
class Pairs(Talks):
    def __len__(self):
        return 1
    def __getitem__(self, index):
        print("run")
        view, one = np.full((3, 64, 96), 0.5, np.float32), np.ones((1, 64, 96), np.float32)
        return Sample(view, view, 1.0, one, one > 0, name="x")
class Mix(Fusion):
    def __init__(self, options, host):
        super().__init__(options, host)
        print("made")
    def modulate_lookup(self, cost, pol, disparity, step, at):
        print("run")
        return cost
"""
KINDS = {"fusion": "mix", "dataset": "pairs", "baseline": "base"}
TALKS = "".join(
    f'@hookimpl\ndef {kind}s(register):\n    register("chatty-{name}", "hostile_net:{name.capitalize()}", {REGISTERED}'
    for kind, name in KINDS.items()
)


@pytest.mark.parametrize(
    "arguments",
    [
        ["build", TINY + "+chatty-mix"],
        ["eval", "chatty-base", "--data", "chatty-pairs"],
        ["eval", "chatty-base", "--data", "chatty-pairs", "--out", "{out}"],
        ["analyze", TINY + "+chatty-mix", "--data", "chatty-pairs", "--iterations", "1"],
        ["data", "check", "chatty-pairs"],
        ["data", "stats", "chatty-pairs"],
    ],
    ids=["build", "eval", "eval --out", "analyze", "data check", "data stats"],
)
def test_what_a_component_prints_is_no_part_of_the_json(
    arguments: list[str], here: Callable[..., None], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    here(TALKS, hostile_net=CHATTY)
    given = [one.format(out=tmp_path / "out") for one in arguments]
    assert main([*given, "--json"]) in (0, 1)  # the faults of a data set
    shown = capsys.readouterr()
    assert json.loads(shown.out) and {"module", "made", "run"} <= set(shown.err.split())
    assert main(given) in (0, 1), "and a command without --json is as it was"
    assert "made" in capsys.readouterr().out


def test_a_builtin_is_not_overridden(here: Callable[..., None]) -> None:
    here('@hookimpl\ndef fusions(register):\n    register("v2c", "hostile_net:Mine", ' + REGISTERED)
    assert error() is None
    assert registry().get("fusion", "v2c").distribution == "polzoo"
    assert registry().get("fusion", "hostile/v2c").target == "hostile_net:Mine"
    model = polzoo.build(TINY + "+v2c")
    assert type(model.fusion).__module__ == "polzoo.fusions.v2c"


NET = """
from polzoo.interfaces import Fusion
class Build(Fusion):
    def __init__(self, options, host):
        raise RuntimeError("boom at build")
class Forward(Fusion):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        raise RuntimeError("boom at forward")
class Shape(Fusion):
    def modulate_lookup(self, cost, pol, disparity, step, at):
        return cost[:, :-1]
"""
THREE = "@hookimpl\ndef fusions(register):\n" + "".join(
    f'    register("{name}", "hostile_net:{name.capitalize()}", {REGISTERED}' for name in ("build", "forward", "shape")
)


def test_a_part_that_raises_when_it_is_made_or_run_harms_no_other_model(
    here: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    here(THREE, hostile_net=NET)
    pair = torch.rand(2, 1, 3, 64, 96)
    with pytest.raises(PolzooError, match=r"fusion 'build' of hostile cannot be made: RuntimeError: boom at build"):
        polzoo.build(TINY + "+build")
    assert main(["build", TINY + "+build"]) == 2 and "of hostile cannot be made" in capsys.readouterr().err
    for name, words in (("forward", "boom at forward"), ("shape", "channels")):
        model = polzoo.build(f"{TINY}+{name}").eval()
        with pytest.raises(RuntimeError, match=words):  # its own error and traceback: nothing is hidden or retried
            model(*pair, iterations=2)
    assert torch.isfinite(polzoo.build(TINY).eval()(*pair, iterations=2).disparity).all()


def test_options_that_cannot_be_had_are_said_of_the_part_alone(
    here: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    here(
        '@hookimpl\ndef fusions(register):\n    register("mine", "hostile_net:Forward", config="hostile_options:O", '
        + REGISTERED,
        hostile_net=NET,
        hostile_options="1 / 0\n",
    )
    assert main(["list", "fusions"]) == 0 and "mine" in capsys.readouterr().out
    assert main(["info", "mine"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "fusion 'mine' of hostile cannot be imported: ZeroDivisionError" in line
    assert str(polzoo.build(TINY).spec).startswith("raft-lite")


TEXTS = {
    "colours": '"\\x1b[31mred\\x1b[0m"',
    "lines": '"one\\ntwo"',
    "nothing": '" "',
    "no text": "7",
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_summary_that_would_spoil_a_listing(text: str, here: Callable[..., None]) -> None:
    here(f'@hookimpl\ndef fusions(register):\n    register("x", "a:B", summary={TEXTS[text]}, licence="MIT")\n')
    assert "summary" in str(error()) and "is not a line of text" in str(error()) and "\x1b" not in str(error())


TARGETS = ["hostile_plugin:../../secret", "hostile_plugin:/etc", "hostile_plugin:a/../../b", "../x:weights", "/etc"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_registered_folder_stays_in_its_package(target: str, here: Callable[..., None]) -> None:
    here(f'@hookimpl\ndef checkpoints(register):\n    register("mine", "{target}", {REGISTERED}')
    assert f"target '{target}' is not 'package:folder/in/package'" in str(error())
    assert not list_components("checkpoint", "mine")


# --------------------------------------------------------------------------------------------------------- checkpoints


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return save(polzoo.build(TINY), tmp_path_factory.mktemp("ck") / "ck", summary="a test")


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "ck")


def reseal(folder: Path, **changes: object) -> None:
    """Change the config as one who knows the format would, hashes and seal included."""
    data = {**config.raw(folder), **changes}
    data.pop("seal")
    data["sha256"] = {name: config.digest(folder / name) for name in config.HASHED if (folder / name).exists()}
    (folder / "config.json").write_text(json.dumps({**data, "seal": config._seal(data)}), encoding="utf-8")


def refused(folder: Path) -> str:
    with pytest.raises(PolzooError) as caught:
        load_folder(folder)
    text = str(caught.value)
    assert "\n" not in text and not checkpoint.verify(str(folder)).ok
    return text


def with_header(folder: Path, change: Callable[[str], str]) -> None:
    """Rewrite the header of the weights, padded as the format wants it."""
    data = (folder / WEIGHTS).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = change(data[8 : 8 + length].decode().rstrip()).encode()
    header += b" " * (-len(header) % 8)
    (folder / WEIGHTS).write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    reseal(folder)


def test_duplicate_names_of_tensors(folder: Path) -> None:
    def twice(header: str) -> str:
        name, described = next(item for item in json.loads(header).items() if item[0] != "__metadata__")
        return header[:-1] + f", {json.dumps(name)}: {json.dumps(described)}" + "}"

    with_header(folder, twice)
    assert "names a tensor twice" in refused(folder)


def test_a_tensor_whose_name_is_a_path(folder: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    with_header(folder, lambda header: header.replace('"update.gru.convz.bias"', '"../../../tmp/owned"'))
    assert "../../../tmp/owned" in refused(folder) and sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("size", [2**31, 2**62, 10**8 + 1])
def test_a_header_that_says_it_is_huge_takes_no_memory(folder: Path, size: int) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(size.to_bytes(8, "little") + data[8:])
    reseal(folder)
    began = time.process_time()
    assert "its header does not fit its size" in refused(folder) and time.process_time() - began < 5


def test_a_shape_that_would_fill_the_memory(folder: Path) -> None:
    with_header(folder, lambda header: header.replace('"shape":[8]', '"shape":[800000000000]', 1))
    assert "safetensors" in refused(folder)


def test_options_that_would_fill_the_memory(folder: Path) -> None:
    model = json.loads((folder / "config.json").read_text())["model"]
    model["backbone"]["options"]["hidden_dim"] = 10**9
    reseal(folder, model=model)
    assert "hidden_dim" in refused(folder)


@pytest.mark.parametrize("name", ["os:system", "polzoo.cli.app:main", "../evil", "evil.py", "__import__('os')"])
def test_a_part_that_is_code_is_a_name_like_any_other(folder: Path, name: str) -> None:
    model = json.loads((folder / "config.json").read_text())["model"]
    model["fusion"] = {"name": name, "options": {}}
    reseal(folder, model=model)
    assert "unknown fusion" in refused(folder)


def test_code_beside_the_weights_is_not_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("conftest.py", "polzoo.py", "modeling.py", "sitecustomize.py"):
        (folder / name).write_text(f"open({str(folder / 'executed')!r}, 'w')")
    monkeypatch.chdir(folder)
    load_folder(folder)
    reseal(folder, auto_map={"AutoModel": "modeling.Model"})
    assert "auto_map" in refused(folder) and not (folder / "executed").exists()


def test_a_plugin_that_is_not_installed_is_named_with_its_command(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = json.loads((folder / "config.json").read_text())["model"]
    model["fusion"] = {"name": "theirs", "distribution": "polzoo-theirs", "options": {}}
    reseal(folder, model=model, plugins=[{"distribution": "polzoo-theirs", "version": "2.1"}])
    assert "pip install polzoo-theirs" in refused(folder)
    assert main(["verify", str(folder)]) in (1, 2)
    assert "pip install polzoo-theirs" in "".join(capsys.readouterr())


@pytest.mark.parametrize("name", ["polzoo-theirs; rm -rf ~", "--index-url=http://evil x", "x\ny", "-r evil.txt"])
def test_what_is_proposed_to_install_is_a_name(folder: Path, name: str) -> None:
    """A line that a person may paste into a shell."""
    model = json.loads((folder / "config.json").read_text())["model"]
    model["fusion"] = {"name": "theirs", "distribution": name, "options": {}}
    reseal(folder, model=model, plugins=[{"distribution": name, "version": "1"}])
    assert "pip install" not in refused(folder)


@pytest.mark.parametrize("where", ["file", "parent"])
def test_links_out_of_the_folder(folder: Path, tmp_path: Path, where: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(folder / WEIGHTS, elsewhere / WEIGHTS)
    if where == "file":
        (folder / WEIGHTS).symlink_to(elsewhere / WEIGHTS)
    else:
        (folder / "inner").symlink_to(elsewhere)
        (folder / WEIGHTS).symlink_to(Path("inner") / WEIGHTS)
    assert "is a link out of its folder" in refused(folder)


@pytest.fixture(scope="module")
def leaning(original: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What needs another checkpoint: a delta of the original and an alias of it, sealed and well."""
    root = tmp_path_factory.mktemp("leaning")
    made = {"delta": save(load_folder(original), root / "delta", base=str(original))}
    return made | {"alias": checkpoint.save_alias(root / "alias", str(original), "flashgru")}


@pytest.fixture
def from_the_hub(leaning: dict[str, Path], tmp_path: Path) -> Callable[[str, str], Path]:
    """A delta or an alias in the Hub's cache, of a base that its author wrote into it."""

    def call(kind: str, name: str) -> Path:
        folder = tmp_path / "cache" / "models--org--theirs" / "snapshots" / ("a" * 40)
        shutil.copytree(leaning[kind], folder)
        block = "base" if kind == "delta" else "alias"
        data = config.raw(folder)
        data |= {block: {**data[block], "name": name}}
        data.pop("seal")
        (folder / "config.json").write_text(json.dumps({**data, "seal": config._seal(data)}), encoding="utf-8")
        return folder

    return call


OUTSIDE = [
    "dir:{original}",
    "{original}",
    "dir:../../../ck",
    "../../../ck",
    "./ck",
    "~/ck",
    "hf:../ck",
    "hf:a/..",
    "ck",
    "b" * 40,
]


@pytest.mark.parametrize("kind", ["delta", "alias"])
@pytest.mark.parametrize("name", OUTSIDE)
def test_what_comes_from_the_hub_names_no_path(
    kind: str,
    name: str,
    original: Path,
    from_the_hub: Callable[[str, str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Though the very weights lie there: the original is at every one of these names."""
    folder = from_the_hub(kind, name.format(original=original))
    for place in (folder.parent / "ck", folder.parent / ("b" * 40), folder.parents[3] / "ck"):
        shutil.copytree(original, place, dirs_exist_ok=True)
    monkeypatch.setenv("HOME", str(folder.parents[3]))
    monkeypatch.chdir(folder.parent)
    text = refused(folder)
    assert f"is {'a delta' if kind == 'delta' else 'an alias'} of" in text
    assert "may name a published model or org/name there alone" in text


@pytest.mark.parametrize("kind", ["delta", "alias"])
def test_an_address_in_what_comes_from_the_hub_is_not_a_folder_here(
    kind: str, original: Path, from_the_hub: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = from_the_hub(kind, "runs/ck"), []

    def fetch(*arguments: object, **_: object) -> Path:
        asked.append(arguments)
        raise PolzooError("there is no connection to the Hub")

    shutil.copytree(original, folder.parent / "runs" / "ck")
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr("polzoo.hub.fetch", fetch)
    assert "which is not here: there is no connection" in refused(folder) and set(asked) == {("runs/ck", None)}


def test_a_private_registry_is_not_touched_by_any_of_this() -> None:
    assert Registry.installed([]).find("fusion", "v2c") is not None
