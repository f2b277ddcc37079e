"""``polzoo publish``, ``pull`` and ``cache`` as a person types them, over the loop-back Hub."""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
import pytest
from huggingface_hub import constants

import polzoo
from polzoo import checkpoint, model_card
from polzoo import hub as hubs
from polzoo.cli.app import COMMANDS, app, main
from polzoo.publish import prepare

pytestmark = pytest.mark.filterwarnings("ignore:Use .content")  # the client's own use of its HTTP library


@pytest.fixture
def run(capsys):
    """Run a command line → (code, stdout, stderr)."""

    def call(*arguments: object) -> tuple[int, str, str]:
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_publish_then_pull(hub, folder, run):
    code, out, _ = run("publish", folder, "org/small", "--tag", "v1.0")
    commit = hub.repos["org/small"].tags["v1.0"]
    assert code == 0 and f"commit  {commit}" in out and "load    polzoo.load('org/small@v1.0')" in out
    code, out, _ = run("pull", "org/small", "hf:org/small@v1.0")
    assert code == 0 and [Path(line).name for line in out.split()] == [commit, commit]
    assert run("publish", folder, "org/small")[1].splitlines()[1] == (
        "sent    nothing: the repository holds these files already"
    )


def test_the_card_that_goes_up_is_of_the_new_address(hub, folder, run):
    run("publish", folder, "org/small")
    card = hub.repos["org/small"].head["README.md"].data.decode()
    assert 'polzoo.load("org/small")' in card and "# small\n" in card
    assert card == model_card.render(folder, "org/small")


def test_a_dry_run_prints_what_would_go_up_and_asks_nothing(hub, folder, run, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    code, out, _ = run("publish", folder, "org/small", "--tag", "v2", "--private", "--dry-run")
    lines, sent = out.splitlines(), prepare(folder, "org/small")
    rows = dict(line.split()[2:0:-1] for line in lines[: len(sent)])
    hashes = {line.split()[2]: line.split()[0] for line in lines[: len(sent)]}
    contents = {name: c if isinstance(c, bytes) else c.read_bytes() for name, c in sent.items()}
    assert rows == {name: str(len(data)) for name, data in contents.items()}
    assert hashes == {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    total = sum(map(len, contents.values()))
    assert code == 0 and lines[-2] == f"{len(sent)} files, {total} bytes, to a private org/small as v2"
    assert not hub.log


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("publish", "{folder}", "small"), "no address on the Hub; write org/name"),
        (("publish", "{folder}", "org/small@v1"), "name the version by --tag v1"),
        (("publish", "nobody", "org/small"), "unknown checkpoint 'nobody'"),
        (("pull", "org/nobody"), "not on the Hub, or it is private"),
        (("pull",), "Missing argument"),
        (("cache", "prune", "org/nobody"), "unknown checkpoint in the Hub's cache 'org/nobody'"),
        (("cache", "prune", "org/nobody", "--all"), "or say --all"),
        (("card", "nobody"), "unknown checkpoint 'nobody'"),
    ],
)
def test_bad_input_is_one_line(hub, folder, run, arguments, words):
    code, out, error = run(*(str(one).format(folder=folder) for one in arguments))
    assert code == 2 and not out and error.count("\n") == 1 and words in error


def test_a_checkpoint_that_computes_something_else_is_not_published(hub, folder, run, monkeypatch):
    monkeypatch.setattr("polzoo.golden.deviation", lambda *_: 0.5)
    code, _, error = run("publish", folder, "org/small")
    assert code == 2 and "is not published: its golden check fails" in error and not hub.log


def test_a_delta_goes_up_whole_and_an_alias_with_its_target(hub, folder, run, tmp_path):
    model = polzoo.load(str(folder))
    next(model.update.parameters()).data.add_(0.25)
    stage = checkpoint.save(model, tmp_path / "stage", base=str(folder))
    assert run("publish", stage, "org/stage")[0] == 0
    sent = hub.repos["org/stage"].head
    assert len(sent["model.safetensors"].data) > (stage / "model.safetensors").stat().st_size
    pairs = zip(polzoo.load("org/stage").state_dict().values(), model.state_dict().values(), strict=True)
    assert all((a == b).all() for a, b in pairs)
    alias = checkpoint.save_alias(tmp_path / "fast", "org/stage", "flashgru(density=0.5)")
    assert run("publish", alias, "org/fast")[0] == 0
    assert polzoo.load("hf:org/fast").spec.update.name == "flashgru"
    assert "model.safetensors" not in hub.repos["org/fast"].head
    code, _, error = run("publish", checkpoint.save_alias(tmp_path / "mine", str(stage), "flashgru"), "org/mine")
    assert code == 2 and "which only you have; publish that first" in error


def test_cache_lists_measures_and_prunes_ours_alone(hub, files, run):
    assert run("cache") == (0, "0 commits, 0.0 kB\n", "")
    old = hub.add("org/small", files)
    hubs.fetch("org/small")
    new = hub.add("org/small", {**files, "README.md": b"# newer\n"})
    hubs.fetch("org/small", refresh=True)
    foreign = Path(constants.HF_HUB_CACHE) / "models--org--bert/snapshots" / ("a" * 40)
    foreign.mkdir(parents=True)
    (foreign / "config.json").write_text("{}")
    listed = run("cache", "list")[1].splitlines()
    assert [line.split()[0] for line in listed[:2]] == ["org/small", "org/small"] and listed[2].startswith("2 commits")
    assert {line.split()[3]: line.split()[4] for line in listed[:2]} == {old[:12]: "replaced", new[:12]: "main"}
    assert int(run("cache", "size")[1]) > len(files["model.safetensors"])
    assert run("cache", "prune")[1].splitlines()[0] == f"org/small  {old[:12]}"
    assert hubs.fetch("org/small").name == new
    (hubs.fetch("org/small") / "model.safetensors").unlink()
    assert "not whole" in run("cache")[1]
    assert run("cache", "prune")[1].splitlines()[0] == f"org/small  {new[:12]}"
    hubs.fetch("org/small")
    assert "1 commit deleted" in run("cache", "prune", "org/small")[1]
    hubs.fetch("org/small")
    assert "1 commit deleted" in run("cache", "prune", "--all")[1]
    assert run("cache")[1].startswith("0 commits") and (foreign / "config.json").exists()


def test_prune_takes_the_named_repository_even_if_another_is_at_the_same_commit(hub, files, run):
    """As a copy made by git is."""
    for name in "abcd":
        hub.add(f"org/{name}", files)
    assert len({hubs.fetch(f"org/{name}").name for name in "abcd"}) == 1
    for gone, left in (("c", "abd"), ("b", "ad"), ("d", "a")):
        code, out, _ = run("cache", "prune", f"org/{gone}")
        assert code == 0 and out.startswith(f"org/{gone}  ") and "1 commit deleted" in out
        assert [one.repo_id for one in hubs.stored()] == [f"org/{name}" for name in left]


def test_the_card_of_a_repository_is_printed_and_its_snapshot_left_as_it_is(hub, files, run):
    hub.add("org/small", files)
    code, out, _ = run("card", "org/small")
    assert code == 0 and 'polzoo.load("org/small")' in out
    code, _, error = run("card", "org/small", "--write")
    assert code == 2 and "lies in the Hub's cache" in error
    assert (hubs.fetch("org/small") / "README.md").read_bytes() == files["README.md"]


@pytest.mark.parametrize("name", ["publish", "pull", "cache", "card"])
def test_the_table_says_what_the_command_says(name):
    found = app.get_command(click.Context(app), name)
    assert found is not None and found.short_help == COMMANDS[name][1]


def test_pull_leaves_alone_what_is_no_model_of_the_hub(hub, run):
    assert run("pull", "polstereo-nano")[0] == 0 and not hub.log
