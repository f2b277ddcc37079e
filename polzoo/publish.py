"""A checkpoint as it goes to the Hub: verified, whole, with the card of its new address."""

from __future__ import annotations

import os
from pathlib import Path

from polzoo import delta, hub, model_card
from polzoo.checkpoint import verify
from polzoo.config import CARD, Alias, read_alias, read_config
from polzoo.errors import PolzooError
from polzoo.names import find, public


def prepare(checkpoint: str | os.PathLike[str], repo_id: str) -> dict[str, bytes | Path]:
    """The files of a checkpoint as :func:`polzoo.hub.publish` sends them to ``repo_id``, by name.

    A delta is written whole. An alias stays one, so its target has to be known to everybody. The card is made anew
    for the address; one that polzoo did not make goes up as it is.

    Raises:
        PolzooError: a checkpoint that does not verify, or an alias of one that only this machine has.
    """
    folder = find(checkpoint)
    failed = [check for check in verify(checkpoint).checks if check.ok is False]
    if failed:
        raise PolzooError(f"{checkpoint} is not published: its {failed[0].name} check fails: {failed[0].detail}")
    alias = read_alias(folder)
    if alias is not None and not _is_everybodys(alias):
        target = alias.alias.name
        raise PolzooError(f"{checkpoint} is an alias of {target}, which only you have; publish that first")
    files = hub.contents(folder) | (delta.whole(folder) if alias is None else {})
    return files | _card(folder, repo_id)


def _card(folder: Path, repo_id: str) -> dict[str, bytes | Path]:
    try:
        return {CARD: model_card.render(folder, repo_id).encode()}
    except model_card.Handwritten:
        return {}


def _is_everybodys(alias: Alias) -> bool:
    """Whether others find the same weights under the name of an alias's target, not a namesake beside the alias."""
    name = public(alias.alias.name)
    return name is not None and read_config(find(name)).weights_sha256 == alias.alias.sha256
