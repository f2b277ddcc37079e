"""``polzoo publish``: a checkpoint folder → a repository on the Hub."""

from __future__ import annotations

from pathlib import Path

import click

from polzoo.errors import PolzooError


@click.command("publish", short_help="Publish a checkpoint on the Hugging Face Hub.")
@click.argument("checkpoint")
@click.argument("repository", metavar="ORG/NAME")
@click.option("--tag", help="Name this version, such as v1.0; a tag is never moved.")
@click.option("--private", is_flag=True, help="Create the repository private.")
@click.option("--dry-run", is_flag=True, help="Show what would go up, with sizes and hashes; nothing is sent.")
def command(checkpoint: str, repository: str, tag: str | None, private: bool, dry_run: bool) -> None:
    """Publish CHECKPOINT, a name or a folder, as the model repository ORG/NAME; polzoo.load("ORG/NAME") then loads it.

    It is verified first, and its card is written for the new address. Everything goes up in one commit; files that
    are there already are not sent again, and where all are, there is no commit. Needs a token that may write.
    """
    from polzoo import hub
    from polzoo.publish import prepare

    repo_id, revision = hub.parse(repository)
    if revision is not None:
        raise PolzooError(f"publish to {repo_id}, and name the version by --tag {revision}")
    files = prepare(checkpoint, repo_id)
    if dry_run:
        _show(files, repo_id, tag, private)
        return
    done = hub.publish(files, repo_id, tag=tag, private=private)
    click.echo(f"commit  {done.commit}")
    click.echo(f"sent    {', '.join(done.changed) or 'nothing: the repository holds these files already'}")
    click.echo(f"load    polzoo.load({f'{repo_id}@{tag}' if tag else repo_id!r})")
    click.echo(f"page    {done.url}")


def _show(files: dict[str, bytes | Path], repo_id: str, tag: str | None, private: bool) -> None:
    from polzoo.hub.client import sha256

    sizes = {name: len(data) if isinstance(data, bytes) else data.stat().st_size for name, data in files.items()}
    for name, content in files.items():
        click.echo(f"{sha256(content)}  {sizes[name]:>10}  {name}")
    version = f" as {tag}" if tag else ""
    target = f"{'a private ' if private else ''}{repo_id}{version}"
    click.echo(f"{len(files)} files, {sum(sizes.values())} bytes, to {target}")
    click.echo("a dry run: nothing was sent; a file that is there already would not be sent again")
