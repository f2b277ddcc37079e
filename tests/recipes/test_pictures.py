"""Pictures of the first pairs: there when they are due, and without a trace in the training."""

import json

import cv2
import numpy as np
import torch

import polzoo
from polzoo.data.formats import encode_image
from polzoo.data.sample import Sample
from polzoo.recipes import pictures
from polzoo.recipes.engine import train


def test_pictures_are_drawn_when_they_are_due_and_change_nothing(small, tmp_path):
    quiet, drawn = (train(small("steps=5", pictures_every=n), tmp_path / str(n)) for n in (0, 2))
    files = sorted(path.name for path in (tmp_path / "2" / "pictures").iterdir())
    assert files == ["step-0000002.png", "step-0000004.png"] and not (tmp_path / "0" / "pictures").exists()
    a, b = polzoo.load(str(quiet)).state_dict(), polzoo.load(str(drawn)).state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)
    keys = "step", "loss", "grad_norm"
    logs = [(tmp_path / n / "log.jsonl").read_text().splitlines() for n in ("0", "2")]
    zero, two = ([[json.loads(line)[key] for key in keys] for line in lines] for lines in logs)
    assert zero == two


def test_a_picture_shows_each_pair_with_what_is_known(small):
    generator = np.random.default_rng(0)
    view = generator.random((3, 32, 40), np.float32)
    known = Sample(view, view, disparity=np.full((1, 32, 40), 3, np.float32))
    model = polzoo.build(small().model)
    for pairs, panels in (([known, known], 4), ([Sample(view, view)], 2)):
        picture = pictures.draw(model, pairs, torch.device("cpu"), 1.0)  # pyright: ignore[reportArgumentType]
        decoded = cv2.imdecode(np.frombuffer(encode_image(picture), np.uint8), cv2.IMREAD_COLOR)
        assert decoded is not None and np.array_equal(decoded[..., ::-1], picture)
        assert picture.shape[1] == panels * (40 + 8) + 8 and picture.shape[0] >= len(pairs) * 32
