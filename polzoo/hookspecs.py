"""All that a plugin may implement, on one screen.

A plugin is an importable module named by an entry point of the group ``polzoo``::

    [project.entry-points.polzoo]          # pyproject.toml of the plugin
    toy = "polzoo_toy"

    from polzoo import hookimpl            # polzoo_toy/__init__.py: imports nothing heavy

    @hookimpl
    def backbones(register):
        register("toy", "polzoo_toy.net:Toy", config="polzoo_toy.options:ToyOptions", summary="…", licence="MIT")

polzoo's own components are registered by the same hooks (``polzoo/builtins.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    import click

POLZOO_API = 1
"""The version of these hooks. A plugin module may declare ``POLZOO_API = 1``; one that declares another is refused."""

hookspec = HookspecMarker("polzoo")
hookimpl = HookimplMarker("polzoo")


class Register(Protocol):
    """What a hook is handed to announce a component by. Nothing is imported before the component is used."""

    def __call__(
        self,
        name: str,
        target: str,
        *,
        config: str | None = None,
        summary: str,
        licence: str,
        sha256: str | None = None,
    ) -> None:
        """Announce ``name`` (lower-case letters, digits, dashes).

        ``target`` is ``"package.module:Class"``; ``config`` is ``"package.light_module:OptionsClass"``, a subclass of
        ``polzoo.options.Options`` in a module that imports no torch (left out: the component has no options).
        A checkpoint's target is ``"package:folder/in/package"``, or ``"hf:org/name@revision"`` together with the
        ``sha256`` of its weights. ``summary`` and ``licence`` are one line each and shown in ``polzoo list``.
        """
        ...


@hookspec
def backbones(register: Register) -> None:
    """Networks from a pair to features, cost volume and first disparity: ``polzoo.interfaces.Backbone``."""


@hookspec
def fusions(register: Register) -> None:
    """Ways for polarization to enter the loop: ``polzoo.interfaces.Fusion``."""


@hookspec
def updates(register: Register) -> None:
    """Executions of a backbone's recurrent cell: ``polzoo.interfaces.UpdateOperator``."""


@hookspec
def importances(register: Register) -> None:
    """Scores that choose the pixels a sparse update refines: ``polzoo.interfaces.Importance``."""


@hookspec
def recipes(register: Register) -> None:
    """Ways to train: ``polzoo.interfaces.Recipe``."""


@hookspec
def datasets(register: Register) -> None:
    """Sources of samples: ``polzoo.interfaces.Dataset``."""


@hookspec
def metrics(register: Register) -> None:
    """Figures over a prediction and its ground truth: ``polzoo.interfaces.Metric``."""


@hookspec
def baselines(register: Register) -> None:
    """Classical or foreign matchers to compare with: ``polzoo.interfaces.Baseline``."""


@hookspec
def checkpoints(register: Register) -> None:
    """Published models: a checkpoint folder in a package, or an address on the Hub."""


@hookspec
def commands(app: click.Group) -> None:
    """Commands of the ``polzoo`` command line: decorate functions with ``@app.command()``.

    If this hook fails, none of its commands is there; the plugin's components are.
    """
