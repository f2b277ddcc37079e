"""Imports point downwards (design §3): the table below is the house's plan, and every module keeps to it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

import polzoo
from polzoo.registry import Registry

ROOT = Path(polzoo.__file__).parent

LAYERS = {
    "ground": "errors options settings components hookspecs precision atomic fuse processes",
    "names": "registry spec builtins cards config names hub model_card execution",
    "interfaces": "interfaces",
    "components": "backbones fusions updates parts",
    "data": "data pair_check",
    "model": "model",
    "zoo": "zoo checkpoint delta weights golden",
    "tools": "publish predict visualize explain memory export convert families scaffold",
    "recipes": "recipes",
    "evaluation": "evaluation",
    "testing": "testing",
    "cli": "cli __main__",
}
"""Layer → its modules and packages."""

NAMED = {"ground", "names"}
BUILT = {*NAMED, "interfaces", "model", "zoo"}
ALLOWED = {
    "ground": set(),
    "names": {"ground"},
    "interfaces": {"ground"},
    "components": {"ground", "interfaces"},  # never the registry, nor what is made of them
    "data": {"ground", "interfaces"},
    "model": {*NAMED, "interfaces"},  # the loop names no component
    "zoo": {*NAMED, "interfaces", "model"},
    "tools": {*BUILT, "components", "data"},
    "recipes": {*BUILT, "components", "data", "tools"},
    "evaluation": {*BUILT, "components", "data", "tools"},
    "testing": {*BUILT, "components", "data", "tools"},
    "cli": {*LAYERS},
}
"""Layer → the layers that it may import; its own goes without saying."""

EXCEPTIONS = {
    ("model", "predict"): "model.predict() is a person's way in; it is imported when it is called",
}
"""(importer, imported) → why it stands against the table."""


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")


FILES = {name_of(file): file for file in ROOT.rglob("*.py")}
MODULES = sorted(FILES.keys() - {""})


def layer(module: str) -> str:
    top = module.partition(".")[0]
    found = [name for name, modules in LAYERS.items() if top in modules.split()]
    assert found, f"say in LAYERS where polzoo.{top} belongs"
    return found[0]


@cache
def imports(module: str) -> set[str]:
    """What a module of polzoo imports of polzoo, at the top or inside functions, but not for type checkers alone.

    ``import polzoo`` is for ``polzoo.load``, which is the zoo's; ``from polzoo import __version__`` is nobody's.
    """
    tree, names = ast.parse(FILES[module].read_text(encoding="utf-8")), set()
    guards = [node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)]
    skipped = {id(inner) for guard in guards for inner in ast.walk(guard)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and id(node) not in skipped:
            names |= {"polzoo.zoo" if alias.name == "polzoo" else alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and id(node) not in skipped:
            assert not node.level, f"polzoo.{module} imports relatively"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name.removeprefix("polzoo.") in FILES else str(node.module) for name in inner}
    return {name.removeprefix("polzoo.") for name in names if name.startswith("polzoo.")}


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_downwards(module: str) -> None:
    mine = layer(module)
    for other in imports(module):
        assert layer(other) in {mine, *ALLOWED[mine]} or (module, other) in EXCEPTIONS, (
            f"polzoo.{module} ({mine}) imports polzoo.{other} ({layer(other)})"
        )


def strategies() -> set[str]:
    """Modules of the components that a spec can name."""
    entries = (entry for kind in ("backbone", "fusion", "update", "importance") for entry in BUILTINS.entries(kind))
    return {str(entry.target).partition(":")[0].removeprefix("polzoo.") for entry in entries} - {"interfaces"}


BUILTINS = Registry.installed([])


@pytest.mark.parametrize("module", [name for name in MODULES if layer(name) == "components" and name != "parts"])
def test_components_do_not_know_each_other(module: str) -> None:
    """Within a package its helpers may be used; from another package, what ``polzoo.parts`` gives to plugins, too."""
    package, shared = module.partition(".")[0], imports("parts")
    for other in imports(module):
        if layer(other) == "components" and (module, other) not in EXCEPTIONS:
            assert other not in strategies(), f"polzoo.{module} imports the component polzoo.{other}"
            assert other.startswith(f"{package}.") or other in shared, f"polzoo.{module} imports polzoo.{other}"


def test_exceptions_are_still_needed() -> None:
    assert all(other in imports(module) for module, other in EXCEPTIONS)


def test_imports_of_every_form_are_seen() -> None:
    assert imports("registry") == {"builtins", "components", "errors", "hookspecs"}
    assert "predict" in imports("model") and "zoo" in imports("cli.demo") and "fusions.v2c" in strategies()
