"""What docs/stability.md promises is kept: nothing that was recorded at the last release is gone or asks for more."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

import polzoo
from polzoo import __version__, checkpoint
from polzoo.config import FORMAT
from polzoo.hookspecs import POLZOO_API
from polzoo.registry import HOOKS, Registry
from polzoo.spec import parse

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "stability.md").read_text(encoding="utf-8")
RECORDED = json.loads((DOCS / "surface.json").read_text(encoding="utf-8"))
OVERRIDDEN = "polzoo.interfaces."
"""What a component implements: an argument more would break it, even an optional one."""

OPTION = re.compile(r"([a-z]+ [a-z0-9-]+)\(\w+\)")
"""``fusion v1(x)``: of a component."""

FLAG = re.compile(r"(polzoo [a-z0-9 -]*[a-z0-9]) -[\w-]+")
"""``polzoo data check --limit``: of a command."""

Version = tuple[int, ...]


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_surface", DOCS / "make_surface.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def broken(old: dict[str, str], new: dict[str, str]) -> dict[str, str]:
    """Name → what was promised of it and does not hold."""
    found = {name: "is gone" for name in old.keys() - new.keys()}
    for name in old.keys() & new.keys():
        exact = name.startswith(OVERRIDDEN) and not name.endswith(".__init__")
        if FLAG.fullmatch(name):
            if old[name] and old[name] != new[name]:
                found[name] = f"could be left out ({old[name]}), and now ({new[name]})"
        elif exact and old[name] != new[name]:
            found[name] = f"is overridden with ({old[name]}), not ({new[name]})"
        elif not exact and not _takes(new[name], old[name]):
            found[name] = f"was called with ({old[name]}) and takes ({new[name]})"
    for name in new.keys() - old.keys():
        whole = OPTION.fullmatch(name) or FLAG.fullmatch(name)
        if whole and not new[name] and whole[1] in old:
            found[name] = "is a new option without a default"
    return found


def _takes(new: str, old: str) -> bool:
    """Whether a call that fitted the old arguments fits the new ones."""
    new_order, new_named = _parsed(new)
    old_order, old_named = _parsed(old)
    kept = [name for name, _ in new_order][: len(old_order)] == [name for name, _ in old_order]
    now, before = dict(new_order + new_named), dict(old_order + old_named)
    return (
        kept
        and before.keys() <= now.keys()
        and all(now[name] for name in before if before[name])
        and all(now[name] for name in now.keys() - before.keys())
    )


def _parsed(text: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """(positional, keyword-only) arguments, each with whether it may be left out."""
    order: list[tuple[str, bool]] = []
    named: list[tuple[str, bool]] = []
    into = order
    for word in filter(None, text.split(", ")):
        if word.startswith("*"):
            named += [(word, True)] if word != "*" else []
            into = named
        else:
            into.append((word.removesuffix("="), word.endswith("=")))
    return order, named


def deprecated() -> dict[str, tuple[Version, Version]]:
    """Name → (deprecated in, gone in) of the page's table."""
    rows = re.findall(r"^\| `(.+?)` \| ([\d.]+) \| ([\d.]+) \|", PAGE, re.M)
    return {name: (_version(since), _version(gone)) for name, since, gone in rows}


def _version(text: str) -> Version:
    return tuple(int(part) for part in text.split("."))[:2]


def test_nothing_that_was_released_is_gone_or_asks_for_more(maker: ModuleType) -> None:
    allowed = {name for name, (_, gone) in deprecated().items() if gone <= _version(__version__)}
    found = {name: why for name, why in broken(RECORDED["surface"], maker.surface()).items() if name not in allowed}
    assert not found, f"deprecate it first (docs/stability.md): {found}"


def test_the_record_is_not_of_the_future() -> None:
    assert _version(RECORDED["version"]) <= _version(__version__)
    assert RECORDED["POLZOO_API"] == POLZOO_API, "a changed POLZOO_API needs a release of its own, and a new record"


def test_the_record_holds_what_matters() -> None:
    surface = RECORDED["surface"]
    assert [f"hook {name}" for name in HOOKS if f"hook {name}" not in surface] == []
    wanted = {
        "polzoo.load": "name, *, update=, fuse=, device=, dtype=",
        "hook fusions": "register",
        "polzoo.interfaces.Fusion.modulate_lookup": "self, cost, pol, disparity, step, at",
        "polzoo.hookspecs.Register.__call__": "self, name, target, *, config=, summary, licence, sha256=",
        "backbone raft-lite(width)": "=",
        "polzoo list": "kind=, pattern=",
        "polzoo list --json": "=false",
        "polzoo pull": "names, *names",
        "polzoo eval": "*models",
        "polzoo data show": "dataset, index",
        "polzoo data show --out": "",
        "polzoo bench model --size": '="320x736"',
        "polzoo bench flashgru --no-compile": "=true",
    }
    assert {name: surface.get(name) for name in wanted} == wanted


def test_the_page_says_it() -> None:
    for words in ("only ever added", "POLZOO_API", "two minor versions", "surface.json", "DeprecationWarning"):
        assert words in PAGE
    assert f"It is {POLZOO_API}, and changes only" in PAGE
    hooks = [f"`{name}({RECORDED['surface'][f'hook {name}']})`" for name in HOOKS]
    assert re.findall(r"`[a-z]+\((?:register|app)\)`", PAGE) == hooks


def test_deprecations_last_two_minor_versions() -> None:
    for name, (since, gone) in deprecated().items():
        assert gone[0] > since[0] or gone[1] >= since[1] + 2, f"{name} goes too early"


FORMATS = Path(__file__).parent / "formats"
"""Checkpoints as a former polzoo wrote them, by format; never written anew: they stand for those that others have."""


@pytest.mark.parametrize("format", range(1, FORMAT + 1))
@pytest.mark.parametrize("kind", ["whole", "delta", "alias"])
def test_a_checkpoint_of_every_format_is_read_and_gives_what_it_gave(format: int, kind: str) -> None:
    report = checkpoint.verify(f"dir:{FORMATS / str(format) / kind}")
    assert [(check.name, check.ok) for check in report.checks] == [
        (name, True) for name in ("config", "hash", "load", "golden")
    ], report.checks
    assert f"format {format}, written by polzoo" in report.checks[0].detail


def test_the_oldest_config_still_says_how_it_was_run() -> None:
    """What stands in it, not today's defaults."""
    whole, alias = (polzoo.load(f"dir:{FORMATS / '1' / kind}") for kind in ("whole", "alias"))
    assert (whole.settings.iterations, whole.settings.schedule_steps, whole.settings.input.needs) == (2, 4, "pair")
    assert [str(model.spec).rpartition("+")[2] for model in (whole, alias)] == ["dense", "flashgru(density=0.5)"]


TENSORS = json.loads((FORMATS / "tensors.json").read_text(encoding="utf-8"))
"""Spec → sha256 over the lines ``name [shape]`` of its tensors, sorted; of every backbone and every fusion."""


@pytest.mark.parametrize("spec", TENSORS)
def test_weights_keep_their_keys(spec: str) -> None:
    tensors = polzoo.build(spec).state_dict()
    lines = sorted(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
    found = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert found == TENSORS[spec], "checkpoints of others have the old names: read them, then record the new ones"


def test_the_tensors_of_every_backbone_and_fusion_are_recorded() -> None:
    builtin = Registry.installed([])
    recorded = [parse(text, builtin) for text in TENSORS]
    for kind in ("backbone", "fusion"):
        names = {getattr(spec, kind).name for spec in recorded}
        assert names == {entry.name for entry in builtin.entries(kind)}


SAME = "self, a, b=, *, c="
CHANGES = [
    (SAME, SAME, True),
    (SAME, "self, a, b=, d=, *, c=, e=", True),  # optional ones are added
    (SAME, "self, a, b=, c=", True),  # a keyword may be given by place too
    (SAME, "self, a, b=, *, c=, e", False),  # a required one is added
    (SAME, "self, a, *, c=", False),  # one is gone
    (SAME, "self, a, b, *, c=", False),  # one became required
    (SAME, "self, b=, a, *, c=", False),  # the order changed
    (SAME, "self, a, d=, b=, *, c=", False),  # one is pushed between
    ("a, *rest", "a", False),
    ("", "", True),
]


@pytest.mark.parametrize(("old", "new", "good"), CHANGES)
def test_a_call_that_fitted_fits(old: str, new: str, good: bool) -> None:
    assert (broken({"polzoo.f": old}, {"polzoo.f": new}) == {}) is good


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ({"fusion v1": ""}, {}, ["fusion v1"]),
        ({"fusion v1": ""}, {"fusion v1": "", "fusion v1(x)": ""}, ["fusion v1(x)"]),
        ({"fusion v1": ""}, {"fusion v1": "", "fusion v1(x)": "=", "fusion v9": "", "fusion v9(y)": ""}, []),
        ({"fusion v1(x)": "="}, {"fusion v1(x)": ""}, ["fusion v1(x)"]),
        ({OVERRIDDEN + "F.encode": "self, a"}, {OVERRIDDEN + "F.encode": "self, a, b="}, [OVERRIDDEN + "F.encode"]),
        ({"polzoo list --json": ""}, {"polzoo list": ""}, ["polzoo list --json"]),
        ({"polzoo list": "kind="}, {"polzoo list": "kind"}, ["polzoo list"]),
        ({"polzoo list": "kind="}, {"polzoo list": "kind=, pattern="}, []),
        ({"polzoo pull": "*names"}, {"polzoo pull": "names, *names"}, ["polzoo pull"]),
        ({"polzoo x y --z": '="a, b"'}, {"polzoo x y --z": '="a"'}, ["polzoo x y --z"]),
        ({"polzoo x y --z": "=false"}, {"polzoo x y --z": "="}, ["polzoo x y --z"]),
        ({"polzoo x y --z": "="}, {"polzoo x y --z": ""}, ["polzoo x y --z"]),
        ({"polzoo x y --z": ""}, {"polzoo x y --z": "=1"}, []),
        ({"polzoo x y": ""}, {"polzoo x y": "", "polzoo x y --z": ""}, ["polzoo x y --z"]),
        ({"polzoo x y": ""}, {"polzoo x y": "", "polzoo x y --z": "=1"}, []),
        ({"polzoo x": ""}, {"polzoo x": "", "polzoo x y": "", "polzoo x y --z": ""}, []),
    ],
)
def test_what_breaks_a_promise_is_named(old: dict[str, str], new: dict[str, str], names: list[str]) -> None:
    assert list(broken(old, new)) == names
