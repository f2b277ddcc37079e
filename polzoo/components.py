"""One registered component: what a registration may say, and how it is imported when it is used."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

from polzoo.errors import PolzooError, nearest, one_line, shorten, unknown

if TYPE_CHECKING:
    from polzoo.options import Options

KINDS = {
    "backbone": "backbones",
    "fusion": "fusions",
    "update": "updates",
    "importance": "importances",
    "recipe": "recipes",
    "dataset": "datasets",
    "metric": "metrics",
    "baseline": "baselines",
    "checkpoint": "checkpoints",
}
"""Kind of component → the hook (and plural) it is registered by."""

OURS = "polzoo"
"""The distribution of the built-in components."""

NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_CLASS = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_FOLDER = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:(?!/)[^\\:]+")
_HUB = re.compile(r"hf:[\w.-]+/[\w.-]+@[\w./-]+")
_PACKAGES = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "timm": "polzoo[timm]",
    "torchvision": "polzoo[timm]",
}


def kind_of(text: str) -> str:
    """The kind that ``text`` names, singular or plural."""
    for kind, plural in KINDS.items():
        if text in (kind, plural):
            return kind
    raise unknown("kind", text, KINDS)


def with_article(kind: str) -> str:
    """``"an update"``, ``"a fusion"``."""
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


@dataclass(frozen=True)
class Entry:
    """One registered component. Nothing of it is imported before ``load()`` or ``options()``."""

    kind: str
    name: str
    target: Any
    """``"package.module:Class"``, or the class itself for a component registered at run time."""
    config: Any = None
    summary: str = ""
    licence: str = ""
    distribution: str = ""
    version: str = ""
    plugin: str = ""
    sha256: str | None = None
    key: str = ""
    """What it is reached by: its name, or ``distribution/name`` where another plugin had the name first."""

    def __str__(self) -> str:
        return f"{self.kind} {self.key!r}" + (f" of {self.distribution}" if self.distribution not in ("", OURS) else "")

    def load(self) -> Any:
        """Import the component's class; a PolzooError says what is missing and what to install."""
        if self.kind == "checkpoint":
            raise PolzooError(f"{self} is a folder of weights, not a class; load it by polzoo.load({self.key!r})")
        return self._import(self.target)

    def options(self) -> type[Options]:
        """The class of the component's options; ``Options`` itself, which has none, where it declared no config."""
        from polzoo.options import Options

        found = Options if self.config is None else self._import(self.config)
        if not (isinstance(found, type) and issubclass(found, Options)):
            raise PolzooError(f"{self}: its config {self.config!r} is not a subclass of polzoo.options.Options")
        return found

    def extras(self) -> list[str]:
        """Extras of polzoo, ``["polzoo[timm]"]``, that its module asks for at its top; nothing is imported for it."""
        nodes = source(self.target).body
        names = [one.name for node in nodes if isinstance(node, ast.Import) for one in node.names]
        names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        found = {_PACKAGES.get(name.partition(".")[0], "") for name in names}
        return sorted(one for one in found if one.startswith(f"{OURS}["))

    def folder(self) -> Path | None:
        """A checkpoint's folder inside the package it came in (which is not imported); None for one on the Hub."""
        if self.kind != "checkpoint" or self.target.startswith("hf:"):
            return None
        package, _, inside = self.target.partition(":")
        with self._explained():
            found = importlib.util.find_spec(package)
            roots = [Path(root) / inside for root in (found and found.submodule_search_locations) or ()]
        for root in roots:
            if root.is_dir():
                return root
        raise PolzooError(f"{self}: there is no folder {inside!r} in the package {package!r}")

    def _import(self, target: Any) -> Any:
        if not isinstance(target, str):
            return target
        module, _, path = target.partition(":")
        with self._explained():
            found: Any = importlib.import_module(module)
        for attribute in path.split("."):
            if not hasattr(found, attribute):
                raise PolzooError(f"{self}: {module} has no {attribute!r}{nearest(attribute, vars(found))}")
            found = getattr(found, attribute)
        return found

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Make one line, naming the component, of what goes wrong at import; our own bugs pass as they are."""
        try:
            yield
        except PolzooError:
            raise
        except ImportError as error:
            raise PolzooError(f"{self} cannot be imported: {_missing(error, self)}") from error
        except Exception as error:
            broken = _broken_extra(error)
            if self.distribution == OURS and not broken:
                raise
            hint = f"; {broken} is broken here: pip install --force-reinstall {_PACKAGES[broken]!r}" if broken else ""
            raise PolzooError(f"{self} cannot be imported: {one_line(error)}{hint}") from error


def source(target: Any) -> ast.Module:
    """The module of ``"package.module:Class"`` as it is written, read without importing anything; empty if it cannot
    be."""
    module, _, _ = target.partition(":") if isinstance(target, str) else ("", "", "")
    top, *inner = module.split(".")
    try:
        found = importlib.util.find_spec(top)  # of a top-level package: imports nothing
        root = Path(found.origin) if found and found.origin else None
        if root is None:
            return ast.Module([], [])
        base = root.parent.joinpath(*inner)
        beside = (p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file())
        return ast.parse((next(beside, root) if inner else root).read_text(encoding="utf-8"))
    except (ImportError, OSError, ValueError, SyntaxError):
        return ast.Module([], [])


def _broken_extra(error: Exception) -> str:
    """The optional package whose import failed, such as a torchvision made for another torch; "" if none did."""
    modules = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    packages = [name.partition(".")[0] for name in modules]
    return next((name for name in reversed(packages) if name in ("timm", "torchvision")), "")


def _missing(error: ImportError, entry: Entry) -> str:
    """What an ImportError lacks and what to install for it."""
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return one_line(error)
    top = error.name.partition(".")[0]
    if top == str(entry.target).partition(":")[0].partition(".")[0]:
        return (
            f"its module {error.name!r} is not there; reinstall it: pip install --force-reinstall {entry.distribution}"
        )
    return f"the module {error.name!r} is missing; install it: pip install {_PACKAGES.get(top, top)!r}"


def check(entry: Entry, where: str) -> None:
    """Refuse a registration that could not work, naming the token that is wrong."""

    def need(good: object, what: str, value: object, allowed: str) -> None:
        if not good:
            raise PolzooError(f"{where}: {what} {shorten(repr(value))} is not {allowed}")

    def fits(pattern: re.Pattern[str], value: object) -> bool:
        return isinstance(value, str) and pattern.fullmatch(value) is not None

    need(fits(NAME, entry.name), "name", entry.name, "lower-case letters, digits and dashes, such as 'my-part'")
    for what in ("summary", "licence"):
        value = getattr(entry, what)
        good = isinstance(value, str) and value.strip() and value.isprintable()
        need(good, what, value, "a line of text; pass " + what + "='…'")
    config = entry.config
    if entry.kind != "checkpoint":
        need(fits(_CLASS, entry.target), "target", entry.target, "'package.module:Class'")
        need(config is None or fits(_CLASS, config), "config", config, "'package.light_module:OptionsClass'")
        need(entry.sha256 is None, "sha256", entry.sha256, "allowed here; only a checkpoint on the Hub has one")
        return
    need(config is None, "config", config, "allowed here; a checkpoint's options are in its config.json")
    if isinstance(entry.target, str) and entry.target.startswith("hf:"):
        need(fits(_HUB, entry.target), "target", entry.target, "'hf:org/name@revision'")
        good = fits(re.compile(r"[0-9a-f]{64}"), entry.sha256)
        need(good, "sha256", entry.sha256, "the weights' hash, 64 hexadecimal digits, which an hf: target needs")
        return
    inside = fits(_FOLDER, entry.target) and ".." not in Path(entry.target.partition(":")[2]).parts
    need(inside, "target", entry.target, "'package:folder/in/package' or 'hf:org/name@revision'")
    need(entry.sha256 is None, "sha256", entry.sha256, "allowed here; a folder's config.json holds the hash")


def matches(name: str, pattern: str) -> bool:
    """Whether a name fits a glob; a pattern without wildcards fits any name that contains it."""
    return fnmatchcase(name, pattern if any(mark in pattern for mark in "*?[") else f"*{pattern}*")
