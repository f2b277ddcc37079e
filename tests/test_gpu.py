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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [128, 40])
def test_flashgru_kernels_are_the_plain_functions(dtype, channels):
    """Both in the same type; the reference is the plain one in double precision."""
    from polzoo.updates.flashgru import sparse, triton

    torch.manual_seed(0)
    near, active, inputs = 700, 400, 2 * channels
    like = {"device": "cuda", "dtype": dtype}
    h, x = (sparse.with_zero(torch.randn(2000, c, **like)) for c in (channels, inputs))
    index_h, index_x, index_rh = (
        torch.randint(n, (near, 9), device="cuda", dtype=torch.int32) for n in (2001, 2001, near + 1)
    )
    weight = torch.randn(3 * channels, channels + inputs, 3, 3, **like) / (27 * channels) ** 0.5
    context, centre = torch.randn(near, 3 * channels, **like), torch.randperm(2000, device="cuda")[:near]
    zr, q = weight[: 2 * channels], weight[2 * channels :]
    of_gates = h, x, index_h, index_x, zr, context[:, : 2 * channels], centre
    z, rh = triton.gates(*of_gates, active=active)
    of_blend = rh, x, h, index_rh[:active], index_x[:active], q, context[:active, 2 * channels :], z, centre[:active]
    new = triton.blend(*of_blend)
    wide = [[t.double() if t.is_floating_point() else t for t in case] for case in (of_gates, of_blend)]
    expected_z, expected_rh = sparse.gates(*wide[0], active=active)
    for found, expected in ((z, expected_z), (rh, expected_rh), (new, sparse.blend(*wide[1]))):
        torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=2e-5)
    assert torch.equal(triton.blend(*of_blend), new)


@pytest.mark.parametrize("backbone", ["raft-lite(hidden_dim=16,context_dim=16,feature_dim=16,width=8)+v2c", "raft"])
def test_flashgru_on_a_gpu_is_its_naive_form(backbone):
    outputs, views = [], [torch.rand(2, 3, 96, 160, device="cuda") for _ in range(2)]
    for backend in ("naive", "triton", "sparse"):
        torch.manual_seed(0)
        model = polzoo.build(f"{backbone}+flashgru(density=0.3,backend='{backend}')").cuda().eval()
        with torch.inference_mode():
            outputs.append(model(*views, iterations=4).disparity)
    for found in outputs[1:]:
        torch.testing.assert_close(found, outputs[0], atol=1e-3, rtol=0)


def test_flashgru_trains_through_its_kernels():
    grads, views = [], [torch.rand(1, 3, 64, 96, device="cuda") for _ in range(2)]
    for backend in ("naive", "triton"):
        torch.manual_seed(0)
        model = polzoo.build(f"{SMALL}+flashgru(density=0.3,backend='{backend}')").cuda()
        model(*views, iterations=2).disparity.mean().backward()
        grads.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, atol=1e-4, rtol=1e-3, msg=name)


def test_flashgru_in_a_cuda_graph():
    torch.manual_seed(0)
    model = polzoo.build("raft+flashgru(density=0.2,importance='gradient')").cuda().eval()
    views = [torch.rand(1, 3, 96, 160, device="cuda") for _ in range(2)]
    with torch.inference_mode():
        for _ in range(2):  # tunes the kernels
            expected = model(*views, iterations=4).disparity
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = model(*views, iterations=4).disparity
        graph.replay()
    torch.testing.assert_close(out, expected, atol=1e-3, rtol=0)
