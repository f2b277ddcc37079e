"""Results side by side: only what was measured alike."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from polzoo.data.sample import Sample
from polzoo.errors import PolzooError
from polzoo.evaluation import report
from polzoo.evaluation.evaluate import evaluate
from polzoo.evaluation.protocol import Protocol
from polzoo.registry import registry


class Five:
    """A method that says 5 everywhere."""

    def __init__(self, options: object) -> None:
        pass

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.full(left.shape[1:], 5, np.float32)


class Six(Five):
    """A method that says 6 everywhere."""

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return super().__call__(left, right) + 1


@pytest.fixture(autouse=True)
def methods() -> Iterator[None]:
    with registry().temporary("baseline", "five", Five), registry().temporary("baseline", "six", Six):
        yield


def pair(disparity: float, name: str) -> Sample:
    picture = np.full((3, 4, 10), 0.5, np.float32)
    return Sample(picture, picture, disparity=np.full((1, 4, 10), disparity, np.float32), name=name)


PAIRS = [pair(5, "a"), pair(8, "b")]
RULES = Protocol(name="mine", version=1, averaging="pairs")


def written(folder: Path, method: str, **options) -> Path:
    result = evaluate([method], **{"dataset": PAIRS, "data": "d", "protocol": RULES, **options})
    return report.write([result], folder)


def test_methods_of_two_files_in_one_table(tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", "five"), written(tmp_path / "two", "six")
    lines = report.compare([one, two.parent]).splitlines()
    assert lines[0] == "mine v1, d: 2 pairs, averages over pairs" and lines[2].split() == ["five", "six"]
    assert next(line for line in lines if "epe" in line).split() == ["epe", "[px]", "1.500", "1.500"]
    same = report.compare([one, written(tmp_path / "again", "five")]).splitlines()[2]
    assert same.split() == ["five", f"[{one}]", "five", f"[{tmp_path / 'again' / 'eval.json'}]"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"protocol": Protocol(name="mine", version=2, averaging="pairs")}, "version 1 and 2"),
        ({"protocol": Protocol(name="other", version=1, averaging="pairs")}, "protocol mine and other"),
        (
            {"protocol": Protocol(name="mine", version=1, averaging="pixels")},
            "rules of the protocol differ in averaging",
        ),
        ({"protocol": None}, "protocol mine and None"),
        ({"limit": 1}, r"pairs differ \(2 and 1 of them\)"),
        ({"dataset": [PAIRS[0], pair(8, "c")]}, "pairs"),
        ({"data": "e"}, "no data set is in every one"),
        ({"metrics": ("epe",)}, "metrics"),
    ],
    ids=str,
)
def test_what_was_not_measured_alike_is_refused(options: dict, words: str, tmp_path: Path) -> None:
    files = [written(tmp_path / "one", "five"), written(tmp_path / "two", "six", **options)]
    with pytest.raises(PolzooError, match=words) as caught:
        report.compare(files)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no evaluation"),
        ("[]", "is no evaluation"),
        ('{"format": 1, "evaluations": []}', "has format 1"),
        ('{"format": 2, "evaluations": 7}', "is no evaluation"),
        ('{"format": 2, "evaluations": [7]}', "is no evaluation"),
        ('{"format": 2, "evaluations": [{"run": {}}]}', "is no evaluation: .*it lacks protocol, data"),
    ],
)
def test_files_that_are_no_evaluation(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "eval.json").write_text(text)
    with pytest.raises(PolzooError, match=words):
        report.compare([tmp_path / "eval.json"])
    with pytest.raises(PolzooError, match="no such file"):
        report.compare([tmp_path / "none.json"])


def test_a_file_named_twice_is_refused(tmp_path: Path) -> None:
    one = written(tmp_path / "one", "five")
    with pytest.raises(PolzooError, match=r"one/eval.json is named twice"):
        report.compare([one, one])


def test_part_of_a_set_is_said_to_be_part(tmp_path: Path) -> None:
    result = evaluate(["five"], PAIRS, data="d", limit=1)
    assert report.table(result).splitlines()[0].startswith("d: 1 pair (the first of 2: not the whole set), averages")
    assert json.loads(report.text([result]))["evaluations"][0] == json.loads(json.dumps(result))
