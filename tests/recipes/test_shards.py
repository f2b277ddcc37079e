"""Tensors in files of bounded size: all of them come back, none is in a file that is too large."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from polzoo.recipes import shards

SHAPES = st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=8)


@given(SHAPES, st.integers(1, 300), st.sampled_from([torch.float32, torch.bfloat16, torch.int64]))
@settings(max_examples=30)
def test_what_is_written_is_read(tmp_path_factory, shapes, limit, dtype):
    folder = tmp_path_factory.mktemp("shards")
    tensors = {f"a.{i}@x": (torch.rand(shape) * 100).to(dtype) for i, shape in enumerate(shapes)}
    found = shards.read(folder, shards.write(folder, tensors, limit))
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) and found[name].dtype == dtype for name in tensors)


def test_no_file_is_too_large(tmp_path):
    shards.write(tmp_path, {"a": torch.rand(5 * 2**20), "b": torch.rand(3), "c": torch.rand(3 * 2**20)})
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert max(sizes) < 15 * 2**20 and len(sizes) == 3 and sum(sizes) < 32.1 * 2**20


def test_memory_layout_is_no_matter(tmp_path):
    weight = torch.rand(4, 3, 2, 2).to(memory_format=torch.channels_last)
    assert torch.equal(shards.read(tmp_path, shards.write(tmp_path, {"w": weight}, 40))["w"], weight)


@pytest.mark.parametrize("keep", [0, 5, -3])
def test_damage_is_an_error(tmp_path, keep):
    shards.write(tmp_path, {"w": torch.rand(9)})
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises((SafetensorError, OSError, ValueError, KeyError)):
        shards.read(tmp_path, 1)


def test_a_missing_part_is_an_error(tmp_path):
    parts = shards.write(tmp_path, {"w": torch.rand(9)}, 16)
    (tmp_path / "part-0002.safetensors").unlink()
    with pytest.raises(ValueError, match="2 files of tensors, not 3"):
        shards.read(tmp_path, parts)
