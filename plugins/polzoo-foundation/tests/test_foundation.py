"""What the contract does not say: the frozen half stays frozen, and iteration pruning goes from 32 to 1."""

import pytest
import torch
from polzoo_foundation.mono import SIZES, MonoFeatures

import polzoo
from polzoo.errors import PolzooError
from polzoo.spec import parse_part
from polzoo.zoo import instantiate

TINY = 'foundation(mono="random",hidden_dim=8,feature_dim=8,width=4,gru_levels=1,corr_levels=2,corr_radius=2)'


def batch():
    random = torch.Generator().manual_seed(0)
    left, right, truth = (torch.rand(1, 3, 64, 96, generator=random) for _ in range(3))
    return {
        "left": left,
        "right": right,
        "disparity": 10 * truth[:, :1],
        "valid": truth[:, 1:2] < 0.8,
        "visible": truth[:, 2:] < 0.8,
        "glass": truth[:, 2:] < 0.1,
        "polarity": torch.ones(1),
        "step": 0,
    }


def test_training_leaves_the_monocular_network_alone():
    model = polzoo.build(TINY)
    recipe = instantiate("recipe", parse_part("recipe", "supervised"), model).train()
    recipe(batch())["loss"].backward()
    trained = {name.split(".")[1] for name, p in model.backbone.named_parameters("backbone") if p.grad is not None}
    assert trained == {"fnet", "cnet", "match", "look", "gates"}


def test_both_halves_are_heard():
    model, pair = polzoo.build(TINY).eval(), torch.rand(2, 1, 3, 64, 96)
    for blind in (model.backbone.mono.neck, model.backbone.fnet):
        before = model.prepare(*pair).encoding.matching[0]
        kept = {name: p.clone() for name, p in blind.named_parameters()}
        with torch.no_grad():
            for p in blind.parameters():
                p.mul_(1.5)
        assert not torch.allclose(before, model.prepare(*pair).encoding.matching[0])
        blind.load_state_dict(kept, strict=False)


def test_pruning_runs_from_32_iterations_to_1():
    torch.manual_seed(0)
    teacher = polzoo.build(TINY)
    teacher.settings = teacher.settings.model_copy(update={"iterations": 32, "schedule_steps": 32})
    for iterations in (16, 8, 4, 2, 1):
        student = polzoo.build(TINY)
        student.load_state_dict(teacher.state_dict())
        student.settings = teacher.settings.model_copy(update={"iterations": iterations})
        before = {name: value.clone() for name, value in student.state_dict().items()}
        recipe = instantiate("recipe", parse_part("recipe", "pip"), student, teacher).train()
        optimizer = torch.optim.AdamW(recipe.parameter_groups(), lr=1e-4)
        loss = recipe(batch())["loss"]
        loss.backward()
        optimizer.step()
        changed = {name.split(".")[0] for name, value in student.state_dict().items() if (value != before[name]).any()}
        assert torch.isfinite(loss) and changed == {"update"}
        teacher = student
    assert (
        teacher.settings.iterations == 1
        and torch.isfinite(teacher.eval()(*torch.rand(2, 1, 3, 64, 96)).disparity).all()
    )


@pytest.mark.parametrize(("name", "millions"), [("small", 24.7), ("base", 97.2), ("large", 334.8)])
def test_sizes_are_those_of_the_published_networks(name, millions):
    with torch.device("meta"):
        found = sum(p.numel() for p in MonoFeatures(name).parameters())
    assert found / 1e6 == pytest.approx(millions, abs=0.3)  # the published one has its head besides


def test_weights_that_cannot_be_fetched_are_one_line(monkeypatch):
    def offline(*_, **__):
        raise OSError("no connection")

    monkeypatch.setattr("polzoo_foundation.mono.DepthAnythingForDepthEstimation.from_pretrained", offline)
    mono = MonoFeatures("random")
    with pytest.raises(PolzooError, match=r"cannot be fetched .*no connection.*pretrained=false"):
        mono.fetch()


def test_images_become_whole_patches():
    found = MonoFeatures("random")(torch.rand(2, 3, 64, 96))
    assert found.shape == (2, SIZES["random"].fusion, 32, 48) and not found.requires_grad
