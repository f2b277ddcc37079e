"""What is installed: the plugins, and the lazy table of the components they announce.

Every plugin is imported, checked and called by itself, and the components it announced are taken over only when all
of its component hooks returned: a broken one is listed with its error (``polzoo plugins``) and everything else works.
The hook ``commands`` is called for the command line alone: if it fails, the plugin brings no command but keeps its
components, so that what a spec can name never depends on who asks.
``POLZOO_PLUGINS=a,b`` selects plugins by entry-point name (empty: none); ``POLZOO_STRICT=1`` raises their errors.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import inspect
import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pluggy

from polzoo import hookspecs
from polzoo.components import KINDS, NAME, OURS, Entry, check, kind_of, matches, with_article
from polzoo.errors import PolzooError, one_line, shorten, unknown

if TYPE_CHECKING:
    import click


HOOKS = (*KINDS.values(), "commands")
MOST = 1000
"""Components of one plugin; whoever announces more has a loop that does not end, or means harm."""

HEAVY = ("torch", "torchvision", "transformers", "timm", "numpy", "cv2", "scipy", "matplotlib")
"""What a plugin should import where it is used: with any of these at the top, even ``polzoo list`` takes seconds."""

_KEYWORDS = ("config", "summary", "licence", "sha256")


# ------------------------------------------------------------------------------------------------------ one plugin


@dataclass(frozen=True)
class PluginInfo:
    """One plugin as it was found: what it brought, and what went wrong."""

    name: str
    distribution: str = ""
    version: str = ""
    components: tuple[Entry, ...] = ()
    commands: tuple[str, ...] = ()
    error: str | None = None
    heavy: tuple[str, ...] = ()
    """Large packages that were imported for nothing more than to find it."""


@dataclass
class _Stage:
    """Where one plugin's registrations wait until all of its hooks have returned."""

    plugin: str
    distribution: str
    version: str
    entries: list[Entry] = field(default_factory=list)
    open: bool = True

    def registrar(self, kind: str) -> Callable[..., None]:
        """The ``register`` that the hook of this kind is handed."""

        def register(
            name: str,
            target: str,
            *,
            config: str | None = None,
            summary: str = "",
            licence: str = "",
            sha256: str | None = None,
            **rest: Any,
        ) -> None:
            where = f"plugin {self.plugin!r}, {kind} {shorten(str(name))!r}"
            for keyword in rest:
                raise unknown(f"keyword of register() ({where})", keyword, _KEYWORDS)
            entry = Entry(
                kind, name, target, config, summary, licence, self.distribution, self.version, self.plugin, sha256, name
            )
            check(entry, where)
            if not self.open:
                raise PolzooError(f"{where}: register() was called after its hook had returned")
            if any((one.kind, one.name) == (kind, name) for one in self.entries):
                raise PolzooError(f"{where} is registered twice; give the second another name")
            if len(self.entries) >= MOST:
                raise PolzooError(f"plugin {self.plugin!r} registers more than {MOST:,} components")
            self.entries.append(entry)

        register.__qualname__ = "register"  # what Python's own complaints about its arguments name
        return register


def _manager(plugin: Any, name: str) -> pluggy.PluginManager:
    """A pluggy manager that holds this plugin alone, once everything that can be checked about it has been."""
    api = getattr(plugin, "POLZOO_API", hookspecs.POLZOO_API)
    if api != hookspecs.POLZOO_API:
        raise PolzooError(
            f"plugin {name!r} is written for POLZOO_API {shorten(repr(api))}, this polzoo has {hookspecs.POLZOO_API}; "
            f"install versions of the two that fit"
        )
    manager = pluggy.PluginManager("polzoo")
    manager.add_hookspecs(hookspecs)
    marked = {}
    for attribute in dir(plugin):
        found = manager.parse_hookimpl_opts(plugin, attribute)
        if found is not None and not found.get("optionalhook"):
            marked[attribute] = found.get("specname") or attribute
    for attribute, hook in marked.items():
        if hook not in HOOKS:
            raise unknown(f"hook of plugin {name!r}", hook, HOOKS)
        _check_arguments(getattr(plugin, attribute), hook, name)
    if not marked:
        bare = ", ".join(f"{hook}()" for hook in HOOKS if inspect.isroutine(getattr(plugin, hook, None)))
        hint = f"its {bare} lacks the decorator" if bare else f"the hooks are {', '.join(HOOKS)}"
        raise PolzooError(f"plugin {name!r} has no function marked with @polzoo.hookimpl; {hint}")
    manager.register(plugin, name)
    return manager


def _check_arguments(function: Any, hook: str, name: str) -> None:
    wanted = "app" if hook == "commands" else "register"
    parameters = inspect.signature(function).parameters.values()
    given = [one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    if given != [wanted]:
        raise PolzooError(f"plugin {name!r}: hook {hook}({', '.join(given)}) must be {hook}({wanted})")


# --------------------------------------------------------------------------------------------------------- the table


class Registry:
    """The plugins and their components. ``registry()`` is the process's own; a test builds a private one."""

    def __init__(self, plugins: Iterable[Any] = (), *, strict: bool = False) -> None:
        """A registry of exactly these plugins: modules, objects with hooks, or entry points."""
        self.strict = strict
        self.plugins: list[PluginInfo] = []
        self._managers: dict[int, pluggy.PluginManager] = {}
        self._entries: dict[tuple[str, str], Entry] = {}
        self._commands: dict[str, click.Command] | None = None
        for plugin in plugins:
            self.add(plugin)

    @classmethod
    def installed(
        cls,
        entry_points: Iterable[importlib.metadata.EntryPoint] | None = None,
        *,
        select: Collection[str] | None = None,
        strict: bool = False,
    ) -> Registry:
        """The built-ins, then every installed plugin by name (``select``: only these)."""
        from polzoo import __version__, builtins

        found = cls(strict=True)
        found.add(builtins, name=OURS, distribution=OURS, version=__version__)  # a fault in our own is a bug: raise it
        found.strict = strict
        if entry_points is None:
            entry_points = importlib.metadata.entry_points(group="polzoo")
        points = sorted(entry_points, key=lambda point: (point.name, _origin(point), point.value))
        for point in points:
            if select is None or point.name in select:
                found.add(point)
        for name in sorted(set(select or ()) - {point.name for point in points}):
            found._missing(name, [point.name for point in points])
        return found

    def add(self, plugin: Any, *, name: str = "", distribution: str = "", version: str = "") -> PluginInfo:
        """Import, check and call one plugin; take over what it announced, or note its one-line error."""
        point = plugin if isinstance(plugin, importlib.metadata.EntryPoint) else None
        if point is not None:
            name, (distribution, version) = point.name, _origin(point)
        name = name or getattr(plugin, "__name__", type(plugin).__name__)
        distribution = _normal(distribution or name)
        stage, where, before = _Stage(name, distribution, version), "at import", set(sys.modules)
        try:
            with contextlib.redirect_stdout(sys.stderr):  # a chatty plugin must not spoil `polzoo list --json`
                manager = _manager(point.load() if point is not None else plugin, name)
                for kind, hook in KINDS.items():
                    where = f"in {hook}()"
                    getattr(manager.hook, hook)(register=stage.registrar(kind))
            self._refuse_double(stage)
        except BaseException as error:  # SystemExit and pytest's Skipped are no Exception
            if self.strict or isinstance(error, KeyboardInterrupt):
                raise
            note = one_line(error) if isinstance(error, PolzooError) else f"{where}: {one_line(error)}"
            info = PluginInfo(name, distribution, version, error=note)
        else:
            components = tuple(self._commit(entry) for entry in stage.entries)
            self._managers[len(self.plugins)] = manager
            info = PluginInfo(name, distribution, version, components)
        stage.open = False
        self._commands = None
        self.plugins.append(replace(info, heavy=_heavy_since(before)))
        return self.plugins[-1]

    def find(self, kind: str, name: str) -> Entry | None:
        """The component of that name (or ``distribution/name``), or None."""
        if (kind, name) in self._entries:
            return self._entries[kind, name]
        distribution, _, plain = name.rpartition("/")
        named = (entry for entry in self._entries.values() if (entry.kind, entry.name) == (kind, plain))
        return next((entry for entry in named if distribution and entry.distribution == distribution), None)

    def get(self, kind: str, name: str) -> Entry:
        """The component of that name (or ``distribution/name``); a PolzooError with the nearest match if none is."""
        kind = kind_of(kind)
        found = self.find(kind, name)
        if found is None:
            error = unknown(kind, name, [entry.key for entry in self.entries(kind)])
            raise PolzooError(f"{error}{self.hint(name)}")
        return found

    def hint(self, name: str) -> str:
        """Where else a name that was not found might have been meant: another kind, or a plugin that failed."""
        elsewhere = [with_article(kind) for kind in KINDS if self.find(kind, name)]
        there = f" ({name!r} is {' and '.join(elsewhere)})" if elsewhere else ""
        failed = [info.name for info in self.plugins if info.error]
        return there + (f" (plugins with errors: {', '.join(failed)}; see polzoo plugins)" if failed else "")

    def entries(self, kind: str | None = None, pattern: str | None = None) -> list[Entry]:
        """Components in the order of their registration, of one kind and matching a glob (or part of a name)."""
        only = kind_of(kind) if kind is not None else None
        found = [entry for entry in self._entries.values() if only in (None, entry.kind)]
        return [entry for entry in found if pattern is None or matches(entry.key, pattern)]

    @contextlib.contextmanager
    def temporary(
        self, kind: str, name: str, target: Any, config: Any = None, *, summary: str = "registered at run time"
    ) -> Iterator[Entry]:
        """Register a class of a script or a test for the length of a ``with`` block."""
        kind = kind_of(kind)
        if not NAME.fullmatch(name):
            raise PolzooError(f"{kind} name {shorten(name)!r} is not lower-case letters, digits and dashes")
        if (kind, name) in self._entries:
            raise PolzooError(f"there is already a {self._entries[kind, name]}; register yours under another name")
        entry = Entry(kind, name, target, config, summary, "unspecified", key=name)
        self._entries[kind, name] = entry
        try:
            yield entry
        finally:
            del self._entries[kind, name]

    def commands(self, taken: Collection[str] = ()) -> dict[str, click.Command]:
        """The commands that plugins bring; one that fails or uses a taken name is noted in ``plugins``."""
        if self._commands is None:
            self._commands = {}
            for index, manager in self._managers.items():
                self._merge_commands(index, manager, taken)
        return self._commands

    def _merge_commands(self, index: int, manager: pluggy.PluginManager, taken: Collection[str]) -> None:
        import click

        assert self._commands is not None
        info, app, before = self.plugins[index], click.Group(self.plugins[index].name), set(sys.modules)
        try:
            with contextlib.redirect_stdout(sys.stderr):
                manager.hook.commands(app=app)
            for name in app.commands:
                if name in taken or name in self._commands:
                    raise PolzooError(f"plugin {info.name!r}: the command {name!r} is taken; give it another name")
        except BaseException as error:
            if self.strict or isinstance(error, KeyboardInterrupt):
                raise
            note = one_line(error) if isinstance(error, PolzooError) else f"in commands(): {one_line(error)}"
            self.plugins[index] = replace(info, error=note)
        else:
            self._commands |= app.commands
            heavy = (*info.heavy, *_heavy_since(before))
            self.plugins[index] = replace(info, commands=tuple(app.commands), heavy=heavy)

    def _commit(self, entry: Entry) -> Entry:
        if (entry.kind, entry.name) in self._entries:
            entry = replace(entry, key=f"{entry.distribution}/{entry.name}")
        self._entries[entry.kind, entry.key] = entry
        return entry

    def _refuse_double(self, stage: _Stage) -> None:
        """Two plugins of one distribution cannot share a name: ``distribution/name`` would not tell them apart."""
        for entry in stage.entries:
            other = self.find(entry.kind, f"{entry.distribution}/{entry.name}")
            if other is not None:
                raise PolzooError(
                    f"plugin {stage.plugin!r}: {entry.kind} {entry.name!r} is registered by plugin {other.plugin!r} "
                    f"of the same distribution {entry.distribution!r} already; give one of them another name"
                )

    def _missing(self, name: str, installed: Collection[str]) -> None:
        error = PolzooError(f"{unknown('plugin', name, installed)} (POLZOO_PLUGINS selects by entry-point name)")
        if self.strict:
            raise error
        self.plugins.append(PluginInfo(name, error=str(error)))


@functools.lru_cache(maxsize=1)
def registry() -> Registry:
    """The process's registry, found on first use. The only global state of polzoo.

    Raises:
        PolzooError: a plugin asks for it while it is being found.
    """
    thread = threading.get_ident()
    if thread in _finding:
        raise PolzooError("what is installed is still being found: ask for it where a component is used, not before")
    chosen = os.environ.get("POLZOO_PLUGINS")
    select = None if chosen is None else {name.strip() for name in chosen.split(",")} - {""}
    _finding.add(thread)
    try:
        return Registry.installed(select=select, strict=os.environ.get("POLZOO_STRICT", "") not in ("", "0"))
    finally:
        _finding.discard(thread)


_finding: set[int] = set()
"""Threads that are looking for plugins, one of which may ask for the others."""


def list_components(kind: str | None = None, pattern: str | None = None) -> list[Entry]:
    """What is registered: ``list_components("fusion")``, ``list_components(pattern="v2*")``."""
    return registry().entries(kind, pattern)


def temporary(
    kind: str, name: str, target: Any, config: Any = None, *, summary: str = "registered at run time"
) -> contextlib.AbstractContextManager[Entry]:
    """``with temporary("fusion", "mine", Mine, MineOptions): ...`` in the process's registry."""
    return registry().temporary(kind, name, target, config, summary=summary)


def _heavy_since(before: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in HEAVY if name in sys.modules and name not in before)


def _normal(name: str) -> str:
    """A distribution's name as the grammar of specs has it: lower case, words joined by one dash."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def _origin(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    """The distribution an entry point came in and its version, as far as its metadata can be read."""
    try:
        name, version = (point.dist.name, point.dist.version) if point.dist else ("", "")
    except Exception:  # metadata without a name or version: no reason to lose the plugin
        name, version = "", ""
    return _normal(name or point.value.partition(":")[0]), version or ""
