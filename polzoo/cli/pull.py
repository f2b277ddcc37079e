"""``polzoo pull``: checkpoints from the Hub into its cache."""

from __future__ import annotations

import click


@click.command("pull", short_help="Fetch checkpoints from the Hub, and check what the cache has.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def command(names: tuple[str, ...]) -> None:
    """Fetch NAME, org/name or org/name@revision, as it is on the Hub now, and print the folder that it lies in.

    polzoo.load takes what the cache has; pull asks the Hub for a newer commit of the branch. Every file of it in the
    cache is compared with its hash, and fetched again if it is damaged. What is no model of the Hub is left alone.
    """
    from polzoo.names import find, follow

    for name in names:
        folder = find(name, refresh=True)
        follow(folder)  # the target of an alias comes, too
        click.echo(folder)
