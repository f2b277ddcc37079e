"""``--json``: what a program reads stands on stdout alone, whatever the components that are run print."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any

import click

STDOUT = f"{__name__}.stdout"


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flag ``as_json``: with it only :func:`answer` reaches stdout, and all else goes to stderr."""

    @functools.wraps(command)
    def run(*, as_json: bool, **given: Any) -> Any:
        if not as_json:
            return command(as_json=False, **given)
        click.get_current_context().meta[STDOUT] = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            return command(as_json=True, **given)

    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(run)


def answer(text: str, *, nl: bool = True) -> None:
    """Print what a command found, as JSON or as a table."""
    click.echo(text, file=click.get_current_context().meta.get(STDOUT), nl=nl)
