"""``polzoo verify``: is a checkpoint what it was when it was written?"""

from __future__ import annotations

import click

from polzoo.errors import PolzooError

MARKS = {True: "ok", False: "FAILED", None: "-"}
CHECKS = ("config", "hash", "load", "golden")


@click.command("verify", short_help="Check a checkpoint's hashes and its golden output.")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="Every model of `polzoo list checkpoints`.")
@click.option("--device", default="cpu", show_default=True, help="Where to compute the golden output.")
@click.option("--update", metavar="SPEC", help="Run under another update operator; golden then does not apply.")
def command(names: tuple[str, ...], everything: bool, device: str, update: str | None) -> int:
    """Check config, hashes, strict load and golden output of checkpoints.

    NAME is a published model, a path, or org/name on the Hub. Exit code: 0 all is well, 1 an output has
    drifted, 2 a checkpoint is damaged, unknown or cannot be read.
    """
    from polzoo.cards import list_models
    from polzoo.checkpoint import verify

    if bool(names) == everything:
        raise PolzooError("name the checkpoints to verify, or say --all (see polzoo list checkpoints)")
    chosen = list_models() if everything else names
    if not chosen:
        click.echo("there are no checkpoints to verify")
    code = 0
    for name in chosen:
        try:
            report = verify(name, update=update, device=device)
        except PolzooError as error:
            if len(chosen) == 1:
                raise
            click.echo(f"{name}\n  unreadable  {' '.join(str(error).split())}")
            code = 2
            continue
        broken = [check.name for check in report.checks if check.ok is False]
        code = max(code, 1 if broken == ["golden"] else 2 if broken else 0)
        click.echo(f"{name}  ({report.folder})")
        for check in report.checks:
            click.echo(f"  {check.name:6}  {MARKS[check.ok]:6}  {check.detail}")
        for unreached in CHECKS[len(report.checks) :]:
            click.echo(f"  {unreached:6}  {MARKS[None]:6}  not checked: {report.checks[-1].name} failed")
    return code
