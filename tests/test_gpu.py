"""What needs a CUDA device: the CPU's outputs, and a training step in bf16. ``benchmarks/gpu.sh tests`` runs it."""

import pytest
import torch

import polzoo

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

SMALL = "raft-lite(hidden_dim=16,context_dim=16,feature_dim=16,width=8)+v2c"


@pytest.fixture(autouse=True)
def _exact():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("spec", ["raft", "raft(lookup='alt',slow_fast=true)", SMALL])
def test_a_gpu_computes_what_a_cpu_does(spec):
    torch.manual_seed(0)
    model, views = polzoo.build(spec).eval(), (torch.rand(2, 3, 96, 160), torch.rand(2, 3, 96, 160))
    with torch.inference_mode():
        cpu = model(*views, iterations=4).disparity
        gpu = model.cuda()(*(v.cuda() for v in views), iterations=4).disparity.cpu()
    torch.testing.assert_close(gpu, cpu, atol=5e-2, rtol=0)


def test_a_training_step_in_bf16_is_finite():
    model, views = polzoo.build(SMALL).cuda(), (torch.rand(2, 3, 64, 96).cuda(), torch.rand(2, 3, 64, 96).cuda())
    with torch.autocast("cuda", torch.bfloat16):
        out = model(*views, iterations=3, all_iterations=True)
    torch.stack([d.abs().mean() for d in out.sequence]).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
