"""A plugin package to start from: one component that works, its contract test, a README. See ``polzoo new-plugin``."""

from __future__ import annotations

import importlib.util
import keyword
import re
import sys
from pathlib import Path
from string import Template

from polzoo import __version__, atomic
from polzoo.components import KINDS, with_article
from polzoo.errors import PolzooError, home, shorten, unknown
from polzoo.registry import registry

KINDS_TO_MAKE = (*KINDS, "command")
"""What a package can be made for: every kind of component, or a command."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_TEMPLATES = Path(__file__).parent / "templates"


def make(name: str, kind: str, parent: Path = Path()) -> Path:
    """Write the package ``parent/name`` whole or not at all, and return its folder.

    The distribution is called ``name``, its module ``name`` with underscores, and what it registers ``name`` without a
    leading ``polzoo-``.

    Raises:
        PolzooError: no such kind, a name that Python or polzoo cannot take, a folder that is there, a full disk.
    """
    if kind not in KINDS_TO_MAKE:
        raise unknown("kind", kind, KINDS_TO_MAKE)
    target = home(parent) / name
    words = _words(name, kind)
    if target.exists() or target.is_symlink():
        raise PolzooError(f"{target} is there already; choose another name, or move it away")
    with atomic.folder(target) as work:
        for file, template in _files(kind, words["module"]).items():
            (work / file).parent.mkdir(exist_ok=True)
            (work / file).write_text(_filled(template, words), encoding="utf-8")
        if kind == "checkpoint":
            _save_weights(work / words["module"] / "weights")
    return target


def _words(name: str, kind: str) -> dict[str, str]:
    """What stands for what in the templates; refuses names that could not be installed or found."""
    if not (_NAME.fullmatch(name) and len(name) <= 80):
        raise PolzooError(
            f"name {shorten(name)!r} is not lower-case words joined by single dashes, such as 'my-{kind}'"
        )
    module, component = name.replace("-", "_"), name.removeprefix("polzoo-")
    taken = keyword.iskeyword(module) or module in sys.stdlib_module_names or importlib.util.find_spec(module)
    if taken:
        raise PolzooError(f"name {name!r} is taken: Python has a module or a word {module!r}; try 'polzoo-{name}'")
    if not component[0].isalpha():
        raise PolzooError(f"name {name!r}: what follows 'polzoo-' must begin with a letter")
    if kind in KINDS and registry().find(kind, component):
        raise PolzooError(f"name {name!r} is taken: there is a {registry().get(kind, component)} already")
    title = "".join(word.capitalize() for word in component.split("-"))
    return {
        "name": name,
        "module": module,
        "component": component,
        "Class": title + ("Part" if keyword.iskeyword(title) else ""),
        "kind": kind,
        "a_kind": with_article(kind),
        "version": __version__,
        "try": _filled(_TRY[kind], {"component": component, "module": module}),
    }


_TRY = {
    "backbone": "polzoo build $component",
    "fusion": "polzoo build raft-lite+$component",
    "update": "polzoo build raft-lite+$component",
    "importance": "polzoo build 'raft-lite+flashgru(importance=\"$component\")'",
    "recipe": "polzoo info $component",
    "dataset": "polzoo data stats $component",
    "metric": "polzoo info $component",
    "baseline": "polzoo eval $component --data 'synthetic(length=4)'",
    "checkpoint": "polzoo verify $component",
    "command": "polzoo $component picture.png",
}
"""Kind → the first thing to do with what was made."""


def _files(kind: str, module: str) -> dict[str, str]:
    """Path in the package → its template."""
    own = {f"{module}/{kind}.py": f"{kind}.py"} if kind not in ("checkpoint", "command") else {}
    test = f"test_{kind}.py" if kind in ("command", "update") else "test_contract.py"
    found = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{module}/__init__.py": "init.py",
        f"{module}/plugin.py": f"{kind}_plugin.py",
        **own,
        f"tests/test_{kind}.py": test,
    }
    return {path: (_TEMPLATES / f"{name}.txt").read_text(encoding="utf-8") for path, name in found.items()}


def _filled(template: str, words: dict[str, str]) -> str:
    return Template(template).substitute(words)


def _save_weights(folder: Path) -> None:
    """A checkpoint to begin with: a tiny model with fresh weights."""
    import torch

    from polzoo.checkpoint import save
    from polzoo.zoo import build

    tiny = registry().get("backbone", "raft-lite").options().tiny
    spec = "raft-lite(" + ",".join(f"{key}={value}" for key, value in tiny.items()) + ")"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save(build(spec), folder, summary="fresh weights, untrained", provenance={"seed": 0})
