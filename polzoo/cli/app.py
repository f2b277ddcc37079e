"""The command line: a static table of commands, each imported when it runs; errors are one line."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from polzoo import __version__
from polzoo.errors import PolzooError, unknown

COMMANDS: dict[str, tuple[str, str]] = {
    "build": ("polzoo.cli.build:command", "Build a model from its spec and show its parts and parameters."),
    "predict": ("polzoo.cli.predict:command", "Estimate the disparity of a rectified pair."),
    "demo": ("polzoo.cli.demo:command", "Predict the bundled pair and draw one picture of it."),
    "explain": ("polzoo.cli.explain:command", "Show what a model's fusion does on a pair, step by step."),
    "train": ("polzoo.cli.train:command", "Train by a recipe file; --resume goes on where a run stopped."),
    "runs": ("polzoo.cli.runs:command", "List, compare and plot trainings."),
    "study": ("polzoo.cli.study:command", "Compare ways of training, resumably."),
    "eval": ("polzoo.cli.eval:command", "Evaluate a checkpoint or a baseline on a data set."),
    "data": ("polzoo.cli.data:command", "Check, count and look at a data set."),
    "bench": ("polzoo.cli.bench:command", "Measure time, memory and operations of models."),
    "analyze": ("polzoo.cli.analyze:command", "Show where a model still moves, iteration by iteration."),
    "verify": ("polzoo.cli.verify:command", "Check a checkpoint's hashes and its golden output."),
    "convert": ("polzoo.cli.convert:command", "Convert official weights to a checkpoint folder."),
    "publish": ("polzoo.cli.publish:command", "Publish a checkpoint on the Hugging Face Hub."),
    "pull": ("polzoo.cli.pull:command", "Fetch checkpoints from the Hub, and check what the cache has."),
    "cache": ("polzoo.cli.cache:command", "List and prune the checkpoints in the Hub's cache."),
    "card": ("polzoo.cli.card:command", "Print a checkpoint's model card, made from its files."),
    "list": ("polzoo.cli.list:command", "List components and checkpoints."),
    "info": ("polzoo.cli.info:command", "Describe a component, a checkpoint or a spec."),
    "plugins": ("polzoo.cli.plugins:command", "List plugins, what they bring and their errors."),
    "new-plugin": ("polzoo.cli.new_plugin:command", "Write a plugin package to start from."),
}
"""Command → where it lives and the line that ``polzoo --help`` shows, so that no command is imported for it."""


class LazyGroup(click.Group):
    """The built-in commands of the table, then those of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_plugin_commands()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return _plugin_commands().get(cmd_name)
        import importlib

        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
            raise PolzooError(f"the command {cmd_name!r} is not part of this installation") from error

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise unknown("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])
        brought = _plugin_commands()
        if brought:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, found.get_short_help_str(100)) for name, found in brought.items()])


def _plugin_commands() -> dict[str, click.Command]:
    from polzoo.registry import registry

    return registry().commands(taken=COMMANDS)


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="polzoo")
@click.pass_context
def app(ctx: click.Context) -> None:
    """Stereo matching with polarization: a zoo of backbones, fusions and updates that a spec can name."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 2 with one line on stderr for bad input, 130 if interrupted.

    A command may return its exit code. Any other exception is a bug and keeps its traceback.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
    try:
        result = app.main(argv if argv is None else list(argv), prog_name="polzoo", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except PolzooError as error:
        return _complain(str(error))
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        return _complain(error.format_message() + (f" (see {path} --help)" if path else ""))
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):  # or Python complains again when it flushes at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # stdout on a full disk
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _complain(f"cannot write the output: {error.strerror or error}")


def _complain(message: str) -> int:
    click.echo(f"polzoo: error: {' '.join(message.split())}", err=True)
    return 2
