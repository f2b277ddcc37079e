"""``polzoo cache``: the checkpoints in the Hub's cache."""

from __future__ import annotations

import click

from polzoo.errors import PolzooError


@click.group("cache", invoke_without_command=True, short_help="List and prune the checkpoints in the Hub's cache.")
@click.pass_context
def command(ctx: click.Context) -> None:
    """List, measure and prune the checkpoints in the Hub's cache; the models of other libraries are left alone."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(show)


@command.command("list", short_help="What is there (without a subcommand, too).")
def show() -> None:
    """List repository, size, commit and what it is called, one commit a line."""
    from polzoo import hub

    found = hub.stored()
    width = max((len(one.repo_id) for one in found), default=0)
    for one in found:
        state = "" if one.whole else "  not whole: polzoo pull it again, or prune"
        names = ", ".join(one.names) or "replaced"
        click.echo(f"{one.repo_id:{width}}  {_bytes(one.size):>9}  {one.commit[:12]}  {names}{state}")
    click.echo(f"{_commits(len(found))}, {_bytes(sum(one.size for one in found))}")


@command.command("size", short_help="Bytes in all.")
def size() -> None:
    """Print how many bytes the checkpoints take."""
    from polzoo import hub

    click.echo(sum(one.size for one in hub.stored()))


@command.command("prune", short_help="Delete what is of no use, or the repositories named.")
@click.argument("names", nargs=-1, metavar="[ORG/NAME]...")
@click.option("--all", "everything", is_flag=True, help="Every checkpoint in the cache.")
def prune(names: tuple[str, ...], everything: bool) -> None:
    """Delete broken-off downloads and replaced commits; with names, everything of these repositories."""
    from polzoo import hub

    if names and everything:
        raise PolzooError("name the repositories to prune, or say --all")
    chosen = {one.repo_id for one in hub.stored()} if everything else names or None
    gone, freed = hub.prune(chosen)
    for one in gone:
        click.echo(f"{one.repo_id}  {one.commit[:12]}")
    click.echo(f"{_commits(len(gone))} deleted, {_bytes(freed)} freed")


def _commits(count: int) -> str:
    return f"{count} commit{'s' * (count != 1)}"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"
