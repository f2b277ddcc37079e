"""What is shipped with polzoo or registered by plugins: checkpoints and recipe files."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from polzoo.components import OURS, Entry, matches
from polzoo.errors import PolzooError, one_line
from polzoo.registry import Registry, registry


class Checkpoint(NamedTuple):
    """One checkpoint that a bare name resolves to."""

    name: str
    summary: str
    licence: str
    distribution: str
    source: Path | Entry


def folders() -> dict[str, Path]:
    """Name → folder of every published model."""
    return {file.parent.name: file.parent for file in sorted(_shipped("model_cards", "_cards").glob("*/config.json"))}


def recipes() -> dict[str, Path]:
    """Name → file of every shipped recipe: bases and what the papers trained, then those of published models."""
    places = (Path(__file__).resolve().parent / "recipes" / "files", _shipped("recipes", "_recipes"))
    return {file.stem: file for place in places for file in sorted(place.glob("*.toml"))}


def recipe_summary(file: Path) -> str:
    """What a recipe's file says of itself; empty where it says nothing, or leaves it to its base."""
    try:
        return str(tomllib.loads(file.read_text(encoding="utf-8")).get("summary", ""))
    except (OSError, ValueError) as error:
        return f"(cannot be read: {one_line(error)})"


def _shipped(in_checkout: str, in_wheel: str) -> Path:
    """Where shipped files are: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).resolve().parent
    return package.parent / in_checkout if (package.parent / "pyproject.toml").is_file() else package / in_wheel


def config(folder: Path) -> dict[str, Any]:
    """A checkpoint folder's ``config.json``."""
    file = folder / "config.json"
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise PolzooError(f"{file} cannot be read: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise PolzooError(f"{file} is not a JSON object")
    return found


def checkpoints(pattern: str | None = None, within: Registry | None = None) -> list[Checkpoint]:
    """Every checkpoint with its summary: model cards first; a plugin's is ``distribution/name`` after a clash."""
    cards = [_card(name, folder) for name, folder in folders().items()]
    taken = {card.name for card in cards}
    for entry in (within if within is not None else registry()).entries("checkpoint"):
        name = f"{entry.distribution}/{entry.name}" if entry.key in taken else entry.key
        cards.append(Checkpoint(name, entry.summary, entry.licence, entry.distribution, entry))
    return [card for card in cards if pattern is None or matches(card.name, pattern)]


def list_models(pattern: str | None = None) -> list[str]:
    """Names that ``polzoo.load`` knows without a network: ``list_models("raft-lite*")``."""
    return [card.name for card in checkpoints(pattern)]


def _card(name: str, folder: Path) -> Checkpoint:
    try:
        found = config(folder)
    except PolzooError:
        found = {"summary": "(its config.json cannot be read)"}
    return Checkpoint(name, str(found.get("summary", "")), str(found.get("licence", "")), OURS, folder)
