"""The matrix: every shipped checkpoint up and down, and each fault with its right error or its right retry.

After every failed download the cache holds nothing damaged and the next one works; after every failed upload the
repository is what it was, and publishing again completes it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import huggingface_hub
import pytest
from huggingface_hub import constants
from loopback import flip, halve

import polzoo
from polzoo import hub as hubs
from polzoo.errors import PolzooError

pytestmark = pytest.mark.filterwarnings("ignore:Use .content")  # the client's own use of its HTTP library

OFTEN, SLOW = 99, 0.5
PAGE = (Path(__file__).parents[2] / "docs" / "publishing.md").read_text(encoding="utf-8")
WORKS, GONE = "works", "there is no connection to the Hub, or it broke off"


def said(error: BaseException) -> str:
    """An error without the address in front, as the page has it."""
    return str(error).removeprefix("hf:org/small").removeprefix(":").strip()


def relisted(data: bytes) -> bytes:
    """A listing with another hash of the card."""
    entries = [{**entry, "oid": "f" * 40} if entry["path"] == "README.md" else entry for entry in json.loads(data)]
    return json.dumps(entries).encode()


class Case(NamedTuple):
    """A fault, and the error that names it; None where the client or we try again and it works."""

    pattern: str
    fault: dict[str, Any]
    error: str | None


STORED, README, CONFIG = r"GET /[0-9a-f]{64}", r"GET .*/README\.md", r"GET .*/config\.json"
HEAD, INFO, TREE = r"HEAD .*/model\.safetensors", r"GET /api/models/org/small", r"GET .*/tree/"

DOWN = {
    "bit flipped once": Case(STORED, {"change": flip}, None),
    "bit flipped always": Case(STORED, {"change": flip, "times": OFTEN}, r"safetensors arrived damaged twice"),
    "bit flipped in a text once": Case(README, {"change": flip}, None),
    "bit flipped in a text always": Case(README, {"change": flip, "times": OFTEN}, r"README.md arrived damaged twice"),
    "bit flipped in the config once": Case(CONFIG, {"change": flip}, None),
    "bit flipped in the config always": Case(CONFIG, {"change": flip, "times": OFTEN}, r"config.json arrived damaged"),
    "broken off once": Case(STORED, {"keep": 1000}, None),
    "broken off always": Case(STORED, {"keep": 0, "times": OFTEN}, r"the connection to the Hub broke off"),
    "cut short": Case(STORED, {"change": halve, "times": OFTEN}, r"a file arrived incomplete"),
    "wrong hash announced": Case(HEAD, {"headers": {"X-Linked-Etag": f'"{"0" * 64}"'}}, None),
    "wrong hash listed": Case(TREE, {"change": relisted}, r"README.md arrived damaged twice"),
    "weights missing from the storage": Case(STORED, {"status": 404, "times": OFTEN}, r"the Hub answers 404"),
    "file missing": Case(HEAD, {"status": 404, "code": "EntryNotFound", "times": OFTEN}, r"that the Hub lists is not"),
    "repository gone": Case(INFO, {"status": 404, "code": "RepoNotFound"}, r"not on the Hub, or it is private"),
    "revision gone": Case(INFO, {"status": 404, "code": "RevisionNotFound"}, r"no such revision"),
    "401": Case(INFO, {"status": 401}, r"access refused \(401\).*HF_TOKEN"),
    "403": Case(INFO, {"status": 403}, r"access refused \(403\)"),
    "gated": Case(HEAD, {"status": 403, "code": "GatedRepo", "times": OFTEN}, r"is gated: request access"),
    "429 at once": Case(INFO, {"status": 429}, r"too many requests \(429\)"),
    "429 before a file, once": Case(HEAD, {"status": 429}, None),
    "429 before a file, always": Case(HEAD, {"status": 429, "times": OFTEN}, r"too many requests \(429\)"),
    "429 in a file, once": Case(STORED, {"status": 429}, None),
    "500 at once": Case(INFO, {"status": 500}, r"the Hub answers 500; try again later"),
    "500 at the list, once": Case(TREE, {"status": 500}, None),
    "500 at the list, always": Case(TREE, {"status": 500, "times": OFTEN}, r"the Hub answers 500"),
    "500 before a file, twice": Case(HEAD, {"status": 500, "times": 2}, None),
    "503 before a file, always": Case(HEAD, {"status": 503, "times": OFTEN}, r"the Hub answers 503"),
    "500 in a file": Case(STORED, {"status": 500}, r"the Hub answers 500"),
    "slow once": Case(STORED, {"delay": SLOW}, None),
    "slow always": Case(STORED, {"delay": SLOW, "times": OFTEN}, r"did not answer in time"),
    "no answer once": Case(STORED, {"drop": True}, None),
    "no answer at all": Case(INFO, {"drop": True}, r"the connection to the Hub broke off"),
    "gone between two files": Case(HEAD, {"die": True}, r"connection"),
    "gone mid-way in a file": Case(STORED, {"keep": 1000, "die": True}, r"connection"),
}

INFO, CREATE, PUT, BATCH = r"GET /api/models/org/small", "POST /api/repos/create", "PUT /", "POST .*objects/batch"
PRE, COMMIT, TAG, YAML = "POST .*/preupload/", "POST .*/commit/", "POST .*/tag/", "POST .*validate-yaml"

UP = {
    "401": Case(CREATE, {"status": 401}, r"access refused \(401\)"),
    "403": Case(CREATE, {"status": 403}, r"access refused \(403\)"),
    "429 at the start": Case(CREATE, {"status": 429}, r"too many requests \(429\)"),
    "500 at the start": Case(CREATE, {"status": 500}, r"the Hub answers 500"),
    "500 at the list, always": Case(TREE, {"status": 500, "times": OFTEN}, r"the Hub answers 500"),
    "card refused": Case(YAML, {"status": 400}, r"the Hub refuses the card"),
    "429 before the files, once": Case(PRE, {"status": 429}, None),
    "403 before the files": Case(PRE, {"status": 403}, r"access refused \(403\)"),
    "500 before the weights, once": Case(BATCH, {"status": 500}, None),
    "500 in the weights, once": Case(PUT, {"status": 500}, None),
    "503 in the weights, always": Case(PUT, {"status": 503, "times": OFTEN}, r"the Hub answers 503"),
    "weights damaged on the way": Case(PUT, {"spoil": flip, "times": OFTEN}, r"does not have this hash"),
    "broken off in the weights, once": Case(PUT, {"drop": True}, None),
    "500 at the commit": Case(COMMIT, {"status": 500}, r"the Hub answers 500"),
    "no answer at the commit": Case(COMMIT, {"drop": True}, r"the connection to the Hub broke off"),
    "answer to the commit lost": Case(COMMIT, {"lost": True}, r"the connection to the Hub broke off"),
    "gone in the weights": Case(PUT, {"die": True}, r"connection"),
    "gone at the commit": Case(COMMIT, {"die": True}, r"connection"),
    "500 at the tag": Case(TAG, {"status": 500}, r"the Hub answers 500"),
}


@pytest.mark.parametrize("what", DOWN)
def test_down(hub, files, what, monkeypatch):
    case = DOWN[what]
    if "delay" in case.fault:
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", SLOW / 2)
    commit = hub.add("org/small", files)
    fault = hub.fail(case.pattern, **case.fault)
    before = fault.times
    if case.error is None:
        found, result = hubs.fetch("org/small"), WORKS
    else:
        with pytest.raises(PolzooError, match=r"^hf:org/small\b.*" + case.error) as caught:
            hubs.fetch("org/small")
        assert "\n" not in str(caught.value)
        result = GONE if case.fault.get("die") else said(caught.value)
    assert f"| {what} | {result} |" in PAGE, "the page's matrix says otherwise"
    assert fault.times < before, "the fault never struck"
    assert_nothing_damaged_stays(files)
    if not case.fault.get("die"):
        hub.faults.clear()
        found = hubs.fetch("org/small")
        assert found.name == commit and {f.name: f.read_bytes() for f in found.iterdir()} == files


def assert_nothing_damaged_stays(files: dict[str, bytes]) -> None:
    blobs = [path for path in Path(constants.HF_HUB_CACHE).rglob("blobs/*")]
    assert all(path.read_bytes() in files.values() for path in blobs), [path.name for path in blobs]


@pytest.mark.parametrize("what", UP)
def test_up(hub, folder, what):
    case, sent = UP[what], hubs.contents(folder)
    fault = hub.fail(case.pattern, **case.fault)
    before = fault.times
    if case.error is None:
        hubs.publish(sent, "org/small", tag="v1")
        result = WORKS
    else:
        with pytest.raises(PolzooError, match=r"^hf:org/small\b.*" + case.error) as caught:
            hubs.publish(sent, "org/small", tag="v1")
        assert "\n" not in str(caught.value)
        result = GONE if case.fault.get("die") else said(caught.value)
    assert f"| {what} | {result} |" in PAGE, "the page's matrix says otherwise"
    assert fault.times < before, "the fault never struck"
    repo = hub.repos.get("org/small")
    if repo is not None and case.error is not None and case.pattern != TAG and not case.fault.get("lost"):
        assert list(repo.head) == [".gitattributes"] and not repo.tags, "half of it is visible"
    if not case.fault.get("die"):
        hub.faults.clear()
        done = hubs.publish(sent, "org/small", tag="v1")
        assert hub.repos["org/small"].tags == {"v1": done.commit}
        assert len(hub.repos["org/small"].trees) == 2
        assert hubs.fetch("org/small", "v1").name == done.commit


def test_a_slow_hub_is_waited_for(hub, files):
    """A listing that takes its time is no failure."""
    hub.add("org/small", files)
    hub.fail(TREE, delay=SLOW)
    start = time.monotonic()
    assert polzoo.load("org/small") and time.monotonic() - start > SLOW


def test_a_killed_download_is_no_checkpoint_and_is_completed(hub, files, monkeypatch):
    """SIGKILL while the weights are on their way: refused offline, completed with a network."""
    hub.add("org/small", files)
    hub.fail(r"GET /[0-9a-f]{64}", delay=60, times=2)
    script = "from polzoo import hub; hub.fetch('org/small')"
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": constants.HF_HUB_CACHE, "HF_HUB_DISABLE_XET": "1"}
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, **settings}) as process:
        while not hub.asked(r"GET /[0-9a-f]{64}") and process.poll() is None:
            time.sleep(0.02)
        process.kill()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.close_session()
    with pytest.raises(PolzooError, match="HF_HUB_OFFLINE is set"):
        hubs.fetch("org/small")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    hub.faults.clear()
    assert {f.name: f.read_bytes() for f in hubs.fetch("org/small").iterdir()} == files


def test_many_fetch_at_once(hub, files):
    hub.add("org/small", files)
    with ThreadPoolExecutor(4) as pool:
        (found,) = set(pool.map(lambda _: hubs.fetch("org/small"), range(4)))
    assert {f.name: f.read_bytes() for f in found.iterdir()} == files
