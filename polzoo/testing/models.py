"""What holds of every combination of a backbone, a fusion and an update operator."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from polzoo.interfaces import Fusion
from polzoo.settings import maps_of
from polzoo.spec import parse_part
from polzoo.testing.contract import require, rule
from polzoo.testing.subjects import ITERATIONS, SIZE, Combination, apart, near
from polzoo.zoo import instantiate

MOST_PARAMETERS = 50_000
HALF_TYPES = (torch.bfloat16, torch.float16)


@rule("model")
def tiny(model: Combination) -> None:
    """A combination of tiny parts has fewer than 50,000 parameters, so that contracts run in minutes.

    Declare smaller sizes in the ``tiny`` of the component's options.
    """
    found = sum(p.numel() for p in model.model.parameters())
    require(found < MOST_PARAMETERS, f"it has {found:,}")


@rule("model")
def output(model: Combination) -> None:
    """A call gives finite disparities (B, 1, H, W) in float32, one after each iteration of each pass.

    Look at the shapes that the hooks return, and for divisions, roots and logarithms of what can be 0.
    """
    out, n = model.run, ITERATIONS * model.model.fusion.passes
    require(out.disparity.shape == (3, 1, *SIZE), f"its shape is {tuple(out.disparity.shape)} for (3, 3, {SIZE})")
    require(out.disparity.dtype == torch.float32, f"it is {out.disparity.dtype}")
    require(len(out.sequence) == n, f"{n} iterations gave {len(out.sequence)}")
    for i, disparity in enumerate(out.sequence, 1):
        require(torch.isfinite(disparity).all(), f"{_share(~torch.isfinite(disparity))} of iteration {i} is not finite")
    require(torch.equal(out.sequence[-1], out.disparity), "the last of the sequence is not the disparity")


@rule("model")
def odd_sizes(model: Combination) -> None:
    """Images of any size give a finite disparity of that size, one at a time or three.

    Look for sizes that are halved and doubled again: the backbone's ``multiple`` is what sizes are padded to.
    """
    for batch, height, width in ((1, 37, 71), (3, 33, 130)):
        found = model(**model.inputs(batch, height, width)).disparity
        size = f"{batch} of {height}×{width}"
        require(found.shape == (batch, 1, height, width), f"{size} gave {tuple(found.shape)}")
        require(torch.isfinite(found).all(), f"{_share(~torch.isfinite(found))} of {size} is not finite")


@rule("model")
def repeats(model: Combination) -> None:
    """The same call gives the same disparity, watched by a recorder or not, and leaves its arguments alone.

    Look for random numbers, for state that a forward pass changes, and for operations in place.
    """
    inputs, seen = model.inputs(3), _Recorder()
    given = {name: value for name, value in inputs.items() if isinstance(value, Tensor)} | inputs.get(
        "polarization", {}
    )
    before = copy.deepcopy(given)
    first, again = model(**inputs, recorder=seen), model(**inputs)
    for out, what in ((again, "another call"), (first, "a recorder")):
        require(torch.equal(out.disparity, model.run.disparity), f"{what} changed it by {_px(out, model.run)}")
    for name, value in given.items():
        require(torch.equal(value, before[name]), f"the call changed its argument {name}")
    require(not seen.wrong, f"it recorded {seen.wrong}, which is no name with a tensor")


@rule("model")
def batch_mates(model: Combination) -> None:
    """Each sample of a batch gets what it gets alone.

    Look for a maximum, mean or norm over dimension 0, and for batch norms that use the batch's statistics.
    """
    inputs = model.inputs(3)
    for i in range(3):
        alone = model(**_each(inputs, lambda x, i=i: x[i : i + 1])).disparity
        together = model.run.disparity[i : i + 1]
        require(near(alone, together, 1e-3), f"sample {i} of 3 differs by {apart(alone, together):.2g} px")


@rule("model")
def gradients(model: Combination) -> None:
    """Training reaches every layer of fusion and cell with a finite gradient that is not 0, and the backbone.

    Look for ``detach`` and ``no_grad``, for layers that nothing calls, and for roots and divisions at 0.
    """
    made = model.build().train()
    out = made(**model.inputs(2), iterations=ITERATIONS, all_iterations=True)
    torch.stack([d.abs().mean() for d in (*out.sequence, out.first)]).sum().backward()
    for name, p in (*made.fusion.named_parameters("fusion"), *made.update.named_parameters("update")):
        require(p.grad is not None, f"{name} gets none")
        require(p.ndim < 2 or (p.grad != 0).any(), f"that of {name} is 0")
    grads = {name: p.grad for name, p in made.named_parameters() if p.grad is not None}
    for name, grad in grads.items():
        require(torch.isfinite(grad).all(), f"{_share(~torch.isfinite(grad))} of that of {name} is not finite")
    require(any((g != 0).any() for name, g in grads.items() if name.startswith("backbone.")), "the backbone gets none")


@rule("model")
def state_dict(model: Combination) -> None:
    """A second model that loads the first one's state gives the same output, and no forward pass changes a state.

    Look for tensors that are neither parameters nor buffers, and for numbers that ``__init__`` draws.
    """
    other = model.build(fresh=True)
    for parameter in other.parameters():
        parameter.data.fill_(0.01)
    wanted, state = model.run, copy.deepcopy(model.model.state_dict())
    other.load_state_dict(state)
    out = model(other, **model.inputs(3))
    require(torch.equal(out.disparity, wanted.disparity), f"the outputs differ by {_px(out, wanted)}")
    changed = [name for name, value in other.state_dict().items() if not torch.equal(value, state[name])]
    require(not changed, f"a forward pass in eval mode changed {', '.join(changed)}")


@rule("model")
def declared_needs(model: Combination) -> None:
    """The fusion reads what its ``needs`` says and nothing else: "rgb" neither intensities nor polarity, "pair" both,
    names of maps those maps.

    Correct the class attribute ``needs``, or see that what it names reaches the output.
    """
    needs, inputs = model.model.fusion.needs, model.inputs(1)
    other = {f"intensity_{side}": inputs[side].flip(-1).square() for side in ("left", "right")}
    changes = {"polarity 0": {"polarity": 0.0}, "other intensities": other}
    if maps_of(needs):
        changes = {"other maps": model.maps(1, seed=1)}
    plain = model(**inputs)
    for what, change in changes.items():
        moved = not torch.equal(model(**{**inputs, **change}).disparity, plain.disparity)
        verb = "changed" if moved else "did not change"
        require(moved == (needs != "rgb"), f"it says {needs!r} and {what} {verb} the disparity")


@rule("model")
def plain_pair(model: Combination) -> None:
    """A pair without analysers (polarity 0) is legal: its disparity is finite and its intensities, which then say
    nothing about polarization, are not read.

    Multiply signed differences by the polarity, and unsigned ones by its absolute value.
    """
    inputs = {**model.inputs(1), "polarity": 0.0}
    other = {f"intensity_{side}": inputs[side].flip(-1).square() for side in ("left", "right")}
    plain, changed = model(**inputs), model(**inputs, **other)
    require(torch.isfinite(plain.disparity).all(), f"{_share(~torch.isfinite(plain.disparity))} of it is not finite")
    require(torch.equal(plain.disparity, changed.disparity), f"other intensities changed it by {_px(plain, changed)}")


@rule("model")
def cap(model: Combination) -> None:
    """``alpha_cap`` changes the output of a fusion that says it is ``capped``, and of no other.

    Correct the class attribute ``capped``, or multiply the learned weight by ``call.alpha_cap``.
    """
    capped, inputs = model.model.fusion.capped, model.inputs(1)
    low, high = (model(**inputs, alpha_cap=value) for value in (0.0, 1.0))
    moved = not torch.equal(low.disparity, high.disparity)
    require(moved == capped, f"capped is {capped} and a cap of 0 {'changed' if moved else 'did not change'} the output")


@rule("model")
def prunes(model: Combination) -> None:
    """A step of iteration pruning (the recipe ``pip``) lowers the iterations, trains the cell with finite gradients,
    and changes nothing else, no statistics of a batch norm either.

    Look for buffers that a forward pass changes, and for state that the teacher's loop leaves to the student's.
    """
    student, teacher = (copy.deepcopy(model.model) for _ in range(2))
    student.settings, teacher.settings = (
        one.settings.model_copy(update={"iterations": n, "schedule_steps": ITERATIONS})
        for one, n in ((student, 1), (teacher, ITERATIONS))
    )
    before = copy.deepcopy(student.state_dict())
    recipe = instantiate("recipe", parse_part("recipe", "pip"), student, teacher).train()
    inputs = model.inputs(1)
    truth = {"disparity": 10 * inputs["left"][:, :1], "valid": inputs["left"][:, :1] < 0.2}
    groups = recipe.parameter_groups()
    recipe({**inputs, **inputs.pop("polarization", {}), **truth, "step": 0})["loss"].backward()
    for name, p in student.update.named_parameters("update"):
        require(p.grad is not None and torch.isfinite(p.grad).all(), f"the gradient of {name} is missing or not finite")
    torch.optim.SGD(groups).step()
    changed = {name for name, value in student.state_dict().items() if not torch.equal(value, before[name])}
    require(changed, "it changed nothing")
    frozen = sorted(name for name in changed if not name.startswith("update."))
    require(not frozen, f"it changed {', '.join(frozen[:3])}")


@rule("model")
def half_precision(model: Combination) -> None:
    """With weights in bfloat16 or float16 the disparity is finite, float32, and near that in full precision.

    Look for sums, squares and small constants (1e-8 is 0 in float16), and keep costs in float32.
    """
    full = model(**model.inputs(1)).disparity
    for dtype in HALF_TYPES:
        half = model(model.build(dtype=dtype), **model.inputs(1)).disparity
        require(half.dtype == torch.float32, f"{dtype} weights gave {half.dtype}")
        error, size = (half - full).abs().mean().item(), full.abs().mean().item()
        require(error < 0.05 * size + 0.05, f"with {dtype} it is {error:.2g} px off on average, of {size:.2g} px")


@rule("model")
def inference_copy(model: Combination) -> None:
    """``fuse()`` gives a copy without batch norms and with equal outputs, and leaves the model as it was.

    Name pairs of convolution and norm in the module's ``norms``, or put them next to each other in a Sequential.
    """
    made, random = model.build(), torch.Generator().manual_seed(0)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            nn.init.uniform_(module.running_mean, -0.2, 0.2, generator=random)
            nn.init.uniform_(module.running_var, 0.7, 1.4, generator=random)
    before = copy.deepcopy(made.state_dict())
    copied, inputs = made.fuse(), model.inputs(1)
    one, other = model(made, **inputs), model(copied, **inputs)  # pyright: ignore[reportArgumentType]
    require(near(one.disparity, other.disparity, 1e-4), f"the outputs differ by {_px(one, other)}")
    changed = [key for key, value in made.state_dict().items() if not torch.equal(before[key], value)]
    require(not changed, f"the model's own {', '.join(changed)} changed")
    left = [name for name, module in copied.named_modules() if isinstance(module, nn.BatchNorm2d)]
    require(not left, f"the copy still has {', '.join(left)}")


@rule("model")
def trace(model: Combination) -> None:
    """The disparity on the feature grid is the first one plus every increment, and the state is where it ended.

    Look at the shape and sign of what the cell's ``head`` and the update operator return.
    """
    disparity = model.run.first
    for i, step in enumerate(model.run.trace, 1):
        disparity = disparity + step.delta
        require(apart(disparity, step.disparity) < 1e-4, f"iteration {i} is {apart(disparity, step.disparity):.2g} off")
    require(torch.equal(model.run.state.disparity, disparity), "the state holds another disparity")


@rule("model")
def warm_start(model: Combination) -> None:
    """A call that starts from another's state goes on from there: where α and passes do not differ, as one call would.

    Look for what an iteration reads beside ``disparity`` and ``hidden``: all of it must come from the pair.
    """
    inputs = model.inputs(1)
    first = model(**inputs, iterations=1)
    second = model(**inputs, iterations=1, state=first.state)
    require(not torch.equal(first.disparity, second.disparity), "the second call gave what the first had given")
    fusion = model.model.fusion
    if fusion.passes > 1 or type(fusion).modulate_lookup is not Fusion.modulate_lookup:
        return  # α differs between one call of two steps and two of one, and a pass begins anew
    whole = model(**inputs, iterations=2)
    require(near(second.disparity, whole.disparity, 1e-4), f"it differs by {_px(second, whole)}")


@rule("model")
def another_cell(model: Combination) -> None:
    """What was prepared once can be refined again, by the model's own cell to the same output and by another one's.

    Look for hooks that change the encoding, the volume or what ``encode`` returned.
    """
    other = copy.deepcopy(model.model.update)
    for parameter in other.parameters():
        parameter.data += 0.01
    with torch.inference_mode():
        prepared = model.model.prepare(**model.inputs(3), iterations=ITERATIONS)
        own, changed, again = (model.model.refine(prepared, cell).disparity for cell in (None, other, None))
    require(torch.equal(own, model.run.disparity), "prepare and refine give another output than the model")
    require(torch.equal(own, again), f"refining again differs by {apart(own, again):.2g} px")
    require(not torch.equal(own, changed), "another cell gives the same output")


@rule("model")
def no_loop_over_pixels(model: Combination) -> None:
    """The number of torch operations does not grow with the image (3 % are left for branches on the data, 10 % under
    another update operator than the backbone's own, which may go block by block): nothing loops over pixels in Python.

    Look for ``for`` over a height, a width or the disparities of a whole row.
    """
    counts = []
    for scale in (1, 1, 2):  # the first call also makes what later ones keep
        inputs = model.inputs(1, scale * SIZE[0], scale * SIZE[1])
        with _Operations() as operations:
            model(model.model, **inputs)
        counts.append(operations.count)
    _, few, many = counts
    limit = 1.03 if model.keeps_defaults("update") else 1.1
    require(many <= limit * few, f"an image of four times the pixels takes {many} instead of {few}")


class _Recorder:
    """Takes whatever is recorded and remembers what it should not have been given."""

    def __init__(self) -> None:
        self.wrong = ""

    def record(self, step: Any, name: Any, value: Any) -> None:
        if not (isinstance(name, str) and isinstance(value, Tensor)):
            self.wrong = f"{name!r} ({type(value).__name__})"


class _Operations(TorchDispatchMode):
    """Counts the operations that reach a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def _each(inputs: dict[str, Any], change) -> dict[str, Any]:
    return {k: _each(v, change) if isinstance(v, dict) else change(v) for k, v in inputs.items()}


def _px(a: Any, b: Any) -> str:
    return f"{apart(a.disparity, b.disparity):.2g} px"


def _share(which: Tensor) -> str:
    return f"{100 * which.float().mean().item():.3g} %"
