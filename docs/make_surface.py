"""Record what is public: ``python docs/make_surface.py`` writes docs/surface.json, once for each release.

A line for each hook, each public class, function, method and attribute, each component with its options, and each
command with its arguments, its flags and their defaults. ``tests/test_stability.py`` compares what there is with what
was recorded last; what it allows is on ``docs/stability.md``.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

RECORDED = Path(__file__).with_name("surface.json")

PUBLIC: dict[str, tuple[str, ...]] = {
    "polzoo": (),
    "polzoo.parts": (),
    "polzoo.testing": (),
    "polzoo.interfaces": (),
    "polzoo.hookspecs": ("Register",),
    "polzoo.registry": ("list_components", "temporary"),
    "polzoo.options": ("Options",),
    "polzoo.data.sample": ("Camera", "Sample"),
    "polzoo.data.stokes": ("Stokes", "from_angles", "from_dolp", "from_mosaic", "from_stokes"),
    "polzoo.data.polarization": ("as_views", "read_mosaics"),
    "polzoo.predict": ("predict",),
    "polzoo.checkpoint": ("save", "verify"),
}
"""Module → its public names; none: all that it defines or lists in ``__all__``."""


def surface() -> dict[str, str]:
    """What is public now: a name → its arguments, ``=`` (of a flag, with its default) if it may be left out, or
    nothing."""
    return dict(sorted([*_hooks(), *_names(), *_components(), *_commands()]))


def record() -> dict[str, Any]:
    """The whole file: version, POLZOO_API and the surface."""
    from polzoo import __version__
    from polzoo.hookspecs import POLZOO_API

    return {"version": __version__, "POLZOO_API": POLZOO_API, "surface": surface()}


def arguments(function: Any) -> str:
    """``"self, call, *, cap="``: names in order, ``=`` where there is a default."""
    words, named = [], False
    for one in inspect.signature(function).parameters.values():
        if one.kind is one.KEYWORD_ONLY and not named:
            words.append("*")
            named = True
        star = {one.VAR_POSITIONAL: "*", one.VAR_KEYWORD: "**"}.get(one.kind, "")
        named = named or one.kind is one.VAR_POSITIONAL
        words.append(star + one.name + ("=" if one.default is not one.empty else ""))
    return ", ".join(words)


def _hooks() -> Iterator[tuple[str, str]]:
    from polzoo import hookspecs
    from polzoo.registry import HOOKS

    for name in HOOKS:
        yield f"hook {name}", arguments(getattr(hookspecs, name))


def _names() -> Iterator[tuple[str, str]]:
    for path, names in PUBLIC.items():
        module = importlib.import_module(path)
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == path]
        for name in names or getattr(module, "__all__", None) or [one for one in own if not one.startswith("_")]:
            value = getattr(module, name)
            if inspect.isclass(value):
                yield from _class(f"{path}.{name}", value)
            elif callable(value):
                yield f"{path}.{name}", arguments(value)
            else:
                yield f"{path}.{name}", ""


def _class(path: str, found: type) -> Iterator[tuple[str, str]]:
    yield path, ""
    made = "__init__" in vars(found) and not getattr(found, "_is_protocol", False)
    if made or hasattr(found, "_fields"):
        yield f"{path}.__init__", arguments(found)
    ours = [base for base in reversed(found.__mro__) if base.__module__.startswith("polzoo")]  # where it stands is free
    for name, value in {name: value for base in ours for name, value in vars(base).items()}.items():
        if inspect.isfunction(value) and (name == "__call__" or not name.startswith("_")):
            yield f"{path}.{name}", arguments(value)
    for name in inspect.get_annotations(found):
        if not name.startswith("_"):
            yield f"{path}.{name}", ""


def _components() -> Iterator[tuple[str, str]]:
    from polzoo.registry import Registry

    for entry in Registry.installed([]).entries():
        yield f"{entry.kind} {entry.name}", ""
        if entry.kind != "checkpoint":
            for name, field in entry.options().model_fields.items():
                yield f"{entry.kind} {entry.name}({name})", "" if field.is_required() else "="


def _commands() -> Iterator[tuple[str, str]]:
    from polzoo.cli.app import COMMANDS

    def walk(words: str, command: click.Command) -> Iterator[tuple[str, str]]:
        given = [one for one in command.params if isinstance(one, click.Argument)]
        yield words, ", ".join(word for one in given for word in _words(one))
        for one in command.params:
            if isinstance(one, click.Option):
                yield from ((f"{words} {flag}", _default(one)) for flag in (*one.opts, *one.secondary_opts))
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(f"{words} {name}", inner)

    for name, (target, _) in COMMANDS.items():
        module, _, attribute = target.partition(":")
        yield from walk(f"polzoo {name}", getattr(importlib.import_module(module), attribute))


def _words(one: click.Argument) -> Iterator[str]:
    """``"left"``, ``"root="``, ``"*names"``; of several that may not be none, ``"names", "*names"``."""
    if one.nargs == 1 or one.required:
        yield f"{one.name}" + ("" if one.required else "=")
    if one.nargs != 1:
        yield f"*{one.name}"


def _default(one: click.Option) -> str:
    """``"=5"``; ``"="`` where it is no plain value, and nothing where the option must be given."""
    found = one.get_default(click.Context(click.Command("")))
    plain = json.dumps(found, ensure_ascii=False) if isinstance(found, str | int | float) else ""
    return "" if one.required else f"={plain}"


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(record(), indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
