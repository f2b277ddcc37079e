"""A model as one graph. That every combination compiles and exports is part of the contract suite."""

import io

import pytest
import torch

import polzoo
from polzoo.errors import PolzooError
from polzoo.export import Exportable, export
from polzoo.interfaces import Fusion
from polzoo.registry import registry

TINY = "raft-lite(hidden_dim=8,context_dim=8,feature_dim=8,width=4,corr_levels=2,corr_radius=2)"


def model(fusion: str = "v2c(pol_levels=2,pol_radius=2,hidden=8,gate_hidden=4)"):
    torch.manual_seed(0)
    made = polzoo.build(f"{TINY}+{fusion}").eval()
    for parameter in made.fusion.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return made


def call(height: int, width: int, batch: int = 1):
    g = torch.Generator().manual_seed(height)
    return *torch.rand(2, batch, 3, height, width, generator=g), torch.tensor([1.0, -1.0][:batch])


def test_a_saved_graph_takes_any_size_and_polarity():
    made, file = model(), io.BytesIO()
    torch.export.save(export(made, iterations=2), file)
    file.seek(0)
    graph = torch.export.load(file).module()
    with torch.no_grad():
        for height, width in ((64, 96), (33, 130), (160, 48)):
            left, right, _ = call(height, width)
            for polarity in (torch.ones(1), torch.zeros(1), -torch.ones(1)):
                wanted = made(left, right, polarity=polarity, iterations=2).disparity
                torch.testing.assert_close(graph(left, right, polarity), wanted, atol=1e-4, rtol=1e-4)


def test_what_cannot_be_exported_is_refused():
    class Maps(Fusion):
        needs = "dolp"

    with pytest.raises(PolzooError, match=r"call model.eval\(\) first"):
        export(model().train())
    with (
        registry().temporary("fusion", "maps", Maps),
        pytest.raises(PolzooError, match="this fusion needs dolp_left, dolp_right too"),
    ):
        export(model("maps"))


@pytest.mark.slow
def test_inductor_gives_the_same():
    made, pair = Exportable(model(), iterations=1), call(64, 96, batch=2)
    compiled = torch.compile(made, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*pair), made(*pair), atol=1e-3, rtol=1e-3)
