"""The report: one file that fetches nothing, with every figure of the result and the worst pairs first."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from polzoo.data.sample import Sample
from polzoo.evaluation import report
from polzoo.evaluation.evaluate import evaluate
from polzoo.evaluation.html import render
from polzoo.evaluation.methods import open_methods
from polzoo.evaluation.pictures import png, worst
from polzoo.evaluation.protocol import Protocol, find, read
from polzoo.registry import registry

TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"


class Five:
    """A method that says 5 everywhere."""

    def __init__(self, options: object) -> None:
        pass

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.full(left.shape[1:], 5, np.float32)


@pytest.fixture(autouse=True)
def methods() -> Iterator[None]:
    with registry().temporary("baseline", "five", Five):
        yield


def pair(disparity: float, name: str) -> Sample:
    picture = np.random.default_rng(0).random((3, 40, 400), np.float32)
    return Sample(picture, picture, disparity=np.full((1, 40, 400), disparity, np.float32), name=name)


class Page(HTMLParser):
    """Tags in order, their attributes, and text."""

    EMPTY = ("meta", "img")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> tuple[dict, str]:
    pairs = [pair(5.5, "easy"), pair(9, "<hard> & far"), pair(7, "medium")]
    rules = Protocol(name="mine", version=3, regions=("all", "textured"), averaging="pairs")
    with registry().temporary("baseline", "five", Five):
        result = evaluate(["five", TINY], pairs, data="three", protocol=rules, iterations=3)
        shown = worst(result, pairs, open_methods(["five", TINY], 3), rules)
    return result, render([(result, shown)])


def test_it_fetches_nothing(page: tuple[dict, str]) -> None:
    found = Page(page[1])
    assert found.open == [] and found.addresses
    assert all(address.startswith("data:image/png;base64,") for address in found.addresses)
    assert not re.search(r"https?:|<script|<link|@import|url\(", page[1])


def test_every_headline_figure_with_its_interval_stands_there(page: tuple[dict, str]) -> None:
    result, text = page[0], Page(page[1]).text
    assert "mine v3, three: 3 pairs, averages over pairs" in text
    for method in result["methods"]:
        assert report.label(method) in text
        for region, figures in method["regions"].items():
            assert region in text
            for label, one in figures.items():
                unit = result["metrics"][label]["unit"]
                low, high = (report.number(end, unit) for end in one["interval"])
                assert f"{report.number(one['pairs'], unit)}[{low}, {high}]" in text, (region, label)
    assert "(untrained)" in text and "sha256" in text and result["run"]["command"] in text


def test_the_worst_pair_of_the_first_method_comes_first(page: tuple[dict, str]) -> None:
    text = Page(page[1]).text
    places = [text.index(name, text.index("Worst pairs of five")) for name in ("<hard> & far", "medium", "easy")]
    assert places == sorted(places)


def test_pictures_are_small_and_there_is_a_curve(page: tuple[dict, str]) -> None:
    result, html = page
    pictures = [base64.b64decode(text) for text in re.findall(r"base64,([^\"]+)", html)]
    sizes = [Image.open(io.BytesIO(data)).size for data in pictures]
    assert len(sizes) == 1 + 3 * (2 + 2 * 2) and max(wide for wide, _ in sizes[1:]) == 320
    assert len(result["methods"][1]["curve"]) == 3 and "after each iteration" in html
    assert len(html) < 5_000_000


def test_a_report_of_hundreds_of_pairs_stays_below_5_mb() -> None:
    """40 pictures of noise, the worst that a PNG can meet."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 320, 3), np.uint8)
    assert 40 * len(png(noise)) * 4 / 3 < 5_000_000


def test_without_iterations_or_pairs_that_have_the_region() -> None:
    pairs = [pair(5.5, "a")]
    result = evaluate(["five"], pairs, protocol=read(find("synthetic-v1")).model_copy(update={"max_disparity": 2.0}))
    html = render([(result, worst(result, pairs, open_methods(["five"]), Protocol()))])
    assert "after each iteration" not in html and Page(html).open == []
