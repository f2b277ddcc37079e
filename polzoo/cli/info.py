"""``polzoo info``: one component, checkpoint or spec in words, without importing it."""

from __future__ import annotations

import ast
import contextlib
import inspect
import json

import click

from polzoo import cards
from polzoo.components import KINDS, Entry, kind_of, source
from polzoo.errors import PolzooError, unknown
from polzoo.registry import registry


@click.command("info", short_help="Describe a component, a checkpoint or a spec.")
@click.argument("name")
def command(name: str) -> None:
    """Describe NAME: a component (also kind=name), a checkpoint, or a spec such as 'raft-lite+v2c'."""
    kind, _, plain = name.rpartition("=") if "(" not in name else ("", "", name)
    if "+" in name or "(" in name:
        _show_spec(name)
        return
    kinds = [kind_of(kind)] if kind else list(KINDS)
    components = [found for one in kinds if one != "checkpoint" and (found := registry().find(one, plain))]
    models = [card for card in cards.checkpoints() if "checkpoint" in kinds and card.name == plain]
    if not components and not models:
        known = [entry.key for one in kinds for entry in registry().entries(one)]
        error = unknown(kinds[0] if kind else "name", plain, {*known, *(card.name for card in cards.checkpoints())})
        raise PolzooError(f"{error}{registry().hint(plain)}")
    for index, found in enumerate([*components, *models]):
        click.echo("\n" * bool(index), nl=False)
        if isinstance(found, Entry):
            _show_component(found)
        else:
            _show_checkpoint(found)


def _show_component(entry: Entry) -> None:
    from polzoo.options import describe

    _show_head(f"{entry.kind} {entry.key}", entry.summary, entry)
    text = docstring(entry.target)
    if text:
        click.echo("\n" + text)
    options = describe(entry.options())
    if hasattr(entry.options(), "execution"):
        _show_execution(entry.options()())
    if not options:
        click.echo("\nno options")
        return
    click.echo("\noptions")
    lines = [(f"{name} = {one.default}", one.type, one.description) for name, one in options.items()]
    first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
    for setting, shape, description in lines:
        click.echo(f"  {setting:{first}}  {shape:{second}}  {description}".rstrip())


def _show_head(title: str, summary: str, entry: Entry) -> None:
    click.echo(f"{title}: {summary}")
    click.echo(f"target   {entry.target}")
    code_alone = " (of the code; data comes under its owners' terms)" if entry.kind == "dataset" else ""
    click.echo(f"licence  {entry.licence}{code_alone}")
    click.echo(f"from     {entry.distribution} {entry.version}".rstrip())
    for extra in entry.extras():
        click.echo(f"needs    pip install {extra!r}")


def _show_checkpoint(card: cards.Checkpoint) -> None:
    folder = card.source.folder() if isinstance(card.source, Entry) else card.source
    if isinstance(card.source, Entry):
        _show_head(f"checkpoint {card.name}", card.summary, card.source)
    else:
        click.echo(f"checkpoint {card.name}: {card.summary}")
    if folder is None:
        return
    click.echo(f"folder   {folder}")
    config = cards.config(folder)
    if "alias" in config:
        click.echo(f"alias    of {config['alias']['name']}, run by {config['execution']}")
    if "base" in config:
        click.echo(f"base     {config['base']['name']}, with which it shares the tensors that are not in its folder")
    if "settings" in config and "model" in config:
        click.echo(_schedule(config))
    if "model" in config:
        from polzoo import spec

        with contextlib.suppress(PolzooError):  # a part that is not installed; what is known is shown all the same
            _show_execution(spec.from_dict(config["model"]).update.options)
    click.echo("config   " + json.dumps(config, indent=2, ensure_ascii=False))


def _schedule(config: dict) -> str:
    """How far polarization is let in, step by step, and the cap of a learned weight, as a run by default has them."""
    from polzoo.settings import Settings, alpha

    settings = Settings(**config["settings"])
    n, trained = settings.iterations, settings.schedule_steps or settings.iterations
    schedule = config["model"]["fusion"]["options"].get("schedule")
    if schedule is None:
        return f"steps    {n}; alpha_cap {settings.alpha_cap:g}"
    steps = ", ".join(f"{alpha(i, n, trained, schedule):.2g}" for i in range(n))
    return f"steps    {n} of {trained} trained; alpha {steps} ({schedule}); alpha_cap {settings.alpha_cap:g}"


def _show_spec(text: str) -> None:
    from polzoo import spec

    model = spec.parse(text)
    click.echo(spec.format(model))
    click.echo()
    click.echo(spec.to_toml(model).rstrip())
    _show_execution(model.update.options)


def _show_execution(options: object) -> None:
    """Which of its backends an update operator that has several would run on the devices of this machine."""
    execution = getattr(options, "execution", None)
    if execution is not None:
        click.echo(f"\nexecution  {execution('cpu')}")
        click.echo(f"           {execution('cuda')}" if cuda() else "           no CUDA device here")


def cuda() -> bool:
    """Whether the driver finds a CUDA device; asks it without importing torch, whose build may still be for CPUs."""
    import ctypes

    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    except OSError:
        return False
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def docstring(target: object) -> str:
    """The docstring of a class named ``package.module:Class``, read from its source without importing anything."""
    if not isinstance(target, str):
        return inspect.getdoc(target) or ""
    name = target.partition(":")[2]
    classes = (node for node in source(target).body if isinstance(node, ast.ClassDef) and node.name == name)
    return next((ast.get_docstring(node) or "" for node in classes), "")
