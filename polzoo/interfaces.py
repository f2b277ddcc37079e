"""What the loop in ``model.py`` hands around, and what a component must be.

A backbone, a fusion or an update operator subclasses the class of its name here and overrides what it does
differently; every method has a default that does nothing wrong. Shapes: images ``(B, 3, H, W)`` float in [0, 1],
padded; maps on the feature grid ``(B, C, h, w)`` with ``h = H / stride``; disparities ``(B, 1, h, w)`` in feature
pixels, positive, left is the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from polzoo.options import Options
from polzoo.settings import alpha

if TYPE_CHECKING:
    from polzoo.model import StereoModel


class Channel(NamedTuple):
    """One channel of a cost lookup: at pyramid ``level`` it looks at disparity ``d + offset · 2**level``."""

    level: int
    offset: int
    group: int = 0


class Host(NamedTuple):
    """All that a fusion may know of the backbone it sits on."""

    stride: int
    feature_dim: int
    hidden_dims: tuple[int, ...]
    context_dims: tuple[int, ...]
    lookup: tuple[Channel, ...]


@dataclass(frozen=True)
class Pair:
    """A rectified, padded pair. ``polarity`` (B,): +1 left is parallel, −1 left is crossed, 0 no analysers.

    ``intensity_*`` are what polarization is read from (the images unless given); ``polarization`` holds named maps
    per view (``stokes_left``, …) for strategies that declare them.
    """

    left: Tensor
    right: Tensor
    polarity: Tensor
    intensity_left: Tensor
    intensity_right: Tensor
    polarization: dict[str, Tensor] = field(default_factory=dict)


class Recorder(Protocol):
    """Receives what a fusion or a cell wants to show; a call without one records nothing and costs nothing.
    ``step`` is None for what stands outside the iterations (hooks 1–4).

    Any map may be recorded under any name. ``gate`` and ``residual`` (before gate and α) belong together, as do
    ``query``, ``key`` and ``mask`` of an attention: ``polzoo explain`` reads them so.
    """

    def record(self, step: Step | None, name: str, value: Tensor) -> None: ...


@dataclass
class Memory:
    """What the steps of one run of the loops leave for later steps, made anew for each: modules keep no such state.

    Attributes:
        pair: the padded images.
        traced: whether the states of earlier steps are looked at later, so that none may be overwritten.
        gate: what the fusion recorded last under the name ``gate``.
        update: the magnitude (B, 1, h, w) of the last update that each pixel got, where an operator leaves some out.
        operator: whatever else an update operator keeps.
    """

    pair: Pair
    traced: bool = True
    gate: Any = None
    update: Tensor | None = None
    operator: Any = None


class Step(NamedTuple):
    """Where the loop is: pass ``p``, iteration ``index`` of ``iterations``, and the polarization weight ``alpha``."""

    p: int
    index: int
    iterations: int
    alpha: float
    recorder: Recorder | None = None
    memory: Memory | None = None

    def record(self, name: str, value: Any) -> Any:
        """Hand ``value`` to the recorder, if the call has one, and return it unchanged. Values at some sites are
        recorded as a map that is NaN elsewhere."""
        if self.memory is not None and name == "gate":
            self.memory.gate = value.detach()
        if self.recorder is not None:
            self.recorder.record(self, name, value if isinstance(value, Tensor) else value.map(float("nan")))
        return value


@dataclass(frozen=True)
class Call:
    """One forward pass: the pair, ``iterations`` per pass, the N trained with, the fusion's cap and a recorder."""

    pair: Pair
    iterations: int
    schedule_steps: int
    alpha_cap: float = 1.0
    schedule: str = "aligned"
    recorder: Recorder | None = None

    def steps(self, p: int, memory: Memory | None = None) -> Iterator[Step]:
        """The iterations of pass ``p``, each with its α; they share ``memory``, which may go on from a pass before."""
        memory = memory or Memory(self.pair)
        for i in range(self.iterations):
            weight = alpha(i, self.iterations, self.schedule_steps, self.schedule)
            yield Step(p, i, self.iterations, weight, self.recorder, memory)

    def record(self, name: str, value: Tensor) -> Tensor:
        """:meth:`Step.record` for what stands outside the iterations."""
        if self.recorder is not None:
            self.recorder.record(None, name, value)
        return value


@dataclass(frozen=True)
class Encoding:
    """What a backbone makes of a pair, before any matching.

    Attributes:
        matching: features of (left, right), (B, C, h, w) each.
        hidden: start of each GRU level's state, finest first, (B, host.hidden_dims[i], h_i, w_i), h_0 = h.
        context: what each level's gates see in every iteration, finest first, (B, host.context_dims[i], h_i, w_i).
        importance: (B, 1, h, w) map of where refinement pays, if the backbone has one.
        extra: whatever the backbone's own ``regularise`` and ``upsample`` need.
    """

    matching: tuple[Tensor, Tensor]
    hidden: tuple[Tensor, ...]
    context: tuple[Tensor, ...]
    importance: Tensor | None = None
    extra: Any = None


class Sites(Protocol):
    """The pixels a step works on. Dense: everything, and all of this is the identity.

    Sparse: values stand on their pixels alone, in whatever form the update operator likes; they can be added and
    multiplied with each other, never mixed with maps. Outside the image is zero, as a convolution pads. Sites that have
    ``pixels`` (P,), indices into the flattened (B, h, w), let a volume look up there alone, and take its (P, C) by
    ``rows(values)``.
    """

    def run(self, net: nn.Module, x: Any) -> Any:
        """``net(x)`` at these sites; ``x`` stands on ``grow(r)`` of them, r the pixels that ``net`` sees around one."""
        ...

    def take(self, x: Tensor) -> Any:
        """The values at these sites of a map (B, C, h, w)."""
        ...

    def grow(self, reach: int | None) -> Sites:
        """These sites and everything within ``reach`` rows and columns of them; everything at all for None."""
        ...

    def cat(self, *xs: Any) -> Any:
        """Values joined along channels, at these sites."""
        ...


Pairwise = Callable[[Tensor, Tensor], Tensor]
"""``left(x) + right(x')`` of two (B, C, h, w) maps, in the layout of a cost volume."""


class Volume(Protocol):
    """Matching cost that can be looked up around a disparity.

    Attributes:
        channels: what each channel of a lookup looks at.
    """

    channels: tuple[Channel, ...]

    def lookup(self, disparity: Tensor, at: Sites) -> Any:
        """Costs (B, len(channels), h, w) around ``disparity`` (B, 1, h, w), feature pixels; zero outside the image."""
        ...


class Correlation(Protocol):
    """Matching cost as a backbone first makes it: a fusion may change it, then it becomes a :class:`Volume`."""

    def pyramid(self, channels: Sequence[Channel]) -> Volume:
        """The volume that reads these channels."""
        ...

    def pairwise(self, left: Tensor, right: Tensor) -> Tensor:
        """``left(x) + right(x')`` of two (B, C, h, w) maps in this volume's own layout: (B, C, h, w, w') for all
        pairs. Raises PolzooError where the volume is never built (on-demand lookup)."""
        ...

    def modulate(self, weight: Callable[[Pairwise], Tensor]) -> Correlation:
        """This volume with every cost multiplied by ``weight(pairwise)``, one channel in the volume's own layout. A
        volume of several layouts asks once for each. Raises PolzooError where the volume is never built."""
        ...


class Cell(nn.Module):
    """The recurrent part: declared by a backbone, executed by an update operator (dense, sparse, …).

    ``schedule`` lists which GRU levels run in one step, coarse to fine, level 0 last; an entry before the last is a
    coarse-only round (slow-fast). For an exact step at some pixels, motion features are needed ``motion_reach``
    around them (the 3×3 gates read r·h, which reads them too), and lookups ``lookup_reach`` (the motion encoder's own
    receptive field on top).
    """

    motion_reach: int = 2
    lookup_reach: int = 2
    schedule: tuple[tuple[int, ...], ...] = ((0,),)

    def prepare(self, context: tuple[Tensor, ...]) -> Any:
        """What the gates need of the context (``Encoding.context``, or what a fusion made of it), once per pass."""
        return context

    def motion(self, cost: Any, disparity: Tensor, at: Sites) -> Any:
        """Motion features (B, C, h, w) at ``at``, of costs (B, fusion.lookup_dim(), h, w) that stand on
        ``at.grow(lookup_reach - motion_reach)`` and of the whole disparity map (B, 1, h, w)."""
        raise NotImplementedError

    def update(self, level: int, hidden: Sequence[Tensor], context: Any, motion: Any) -> Tensor:
        """The new hidden state of one level, (B, hidden_dims[level], h_i, w_i), reading the current state of its
        neighbours; ``context`` is what ``prepare`` returned, ``motion`` is read by level 0."""
        raise NotImplementedError

    def head(self, hidden: Tensor) -> Tensor:
        """Disparity increment (B, 1, h, w), feature pixels, from the finest hidden state."""
        raise NotImplementedError

    def mask(self, hidden: Sequence[Tensor]) -> Tensor | None:
        """Upsampling weights (B, any, h, w) from the final hidden states, for the backbone's ``upsample``; None where
        it upsamples without."""
        return None


class UpdateOperator(nn.Module):
    """An execution of a cell. It has no parameters and no buffers, so every checkpoint runs under every operator."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options

    def prepare(self, cell: Cell, context: tuple[Tensor, ...]) -> Any:
        """What the steps of a pass are handed as ``context``: what ``cell.prepare`` makes of it, or, for an operator
        that prepares it at some pixels only, anything that its ``forward`` takes besides."""
        return cell.prepare(context)

    def sites(self, cell: Cell, encoding: Encoding, disparity: Tensor, step: Step) -> Sites:
        """The pixels to refine in this step: ``EVERYTHING``, or some, chosen from the encoding and the disparity
        (B, 1, h, w) so far."""
        raise NotImplementedError

    def forward(
        self, cell: Cell, hidden: tuple[Tensor, ...], context: Any, cost: Any, disparity: Tensor, at: Sites
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """One step of the cell.

        Args:
            hidden: the state of every level, maps.
            context: what ``prepare`` or ``cell.prepare`` returned.
            cost: what the fusion made of the lookup, on ``at.grow(cell.lookup_reach)``; a map if it needs whole maps.
            disparity: (B, 1, h, w), feature pixels.
            at: what ``sites`` returned.

        Returns:
            (hidden, Δ): the new state of every level and the increment (B, 1, h, w), maps both; where nothing was done
            the state is the old one and Δ is 0.
        """
        raise NotImplementedError


class Backbone(nn.Module):
    """Features, context, cost volume, first disparity and upsampling. Pyramid, zero start and bilinear upsampling are
    inherited.

    Attributes:
        multiple: what image sizes are padded to, a multiple of the stride.
        host: what it declares to fusions and cells; ``__init__`` sets it.
        learned_groups: groups of the lookup that a network regularises, so that features alone do not say at which
            disparity a cost is highest.
    """

    multiple: int = 32
    host: Host
    learned_groups: tuple[int, ...] = ()

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options

    def initialise(self) -> None:
        """Fetch or make first weights that the constructor does not; called for a fresh model, never for a checkpoint.

        Raises:
            PolzooError: they cannot be had.
        """

    def encode(self, pair: Pair) -> Encoding:
        """Features, hidden states and context of a padded pair (B, 3, H, W), as ``host`` declares them."""
        raise NotImplementedError

    def correlate(self, encoding: Encoding) -> Correlation:
        """Matching cost of the features, before any pyramid or regularisation."""
        raise NotImplementedError

    def make_cell(self, lookup_dim: int) -> Cell:
        """The recurrent cell, for costs of ``lookup_dim`` channels: ``len(host.lookup)`` unless a fusion says else."""
        raise NotImplementedError

    def regularise(self, volume: Any, encoding: Encoding) -> tuple[Volume, Tensor]:
        """The volume that is looked up, and the first disparity (B, 1, h, w) in feature pixels: here the volume's
        pyramid and zeros."""
        left = encoding.matching[0]
        return volume.pyramid(self.host.lookup), left.new_zeros(left.shape[0], 1, *left.shape[-2:])

    def upsample(self, disparity: Tensor, mask: Tensor | None, encoding: Encoding) -> Tensor:
        """Disparity (B, 1, h, w) in feature pixels → (B, 1, H, W) in pixels; ``mask`` is the cell's. Here bilinear."""
        size = [n * self.host.stride for n in disparity.shape[-2:]]
        return self.host.stride * F.interpolate(disparity, size, mode="bilinear", align_corners=True)


class Fusion(nn.Module):
    """Five places to step in, each the identity by default: this class is the strategy ``none``.

    Attributes:
        passes: how often the refinement loop runs.
        reach: how far ``modulate_lookup`` sees around a pixel on the feature grid; None if it needs the whole map.
        needs: "rgb" or "pair" (both images and the polarity) or the polarization maps it declares.
        identity_at_start: whether a model with fresh weights gives exactly what the un-fused one gives at ``passes``
            times the iterations. A property where it depends on the options. The contract suite holds it to that.
        schedule: how ``step.alpha`` runs over the iterations, "aligned" or "literal" (:func:`polzoo.settings.alpha`);
            None where it plays no part. An option of that name overrides it.
        capped: whether it has a learned weight under the recipe's cap (``call.alpha_cap``).
        trainable_in_pip: whether iteration pruning may train it with the update cell.
    """

    passes: int = 1
    reach: int | None = 0
    needs: str = "rgb"
    identity_at_start: bool = False
    schedule: str | None = None
    capped: bool = False
    trainable_in_pip: bool = False

    def __init__(self, options: Options, host: Host) -> None:
        super().__init__()
        self.options = options
        self.host = host
        self.schedule = getattr(options, "schedule", type(self).schedule)

    def lookup_dim(self) -> int:
        """Channels of the cost that the update cell reads."""
        return len(self.host.lookup)

    def encode(self, call: Call, encoding: Encoding) -> Any:
        """1: anything, built once of ``call.pair`` and the encoding, and handed to every later hook as ``pol``."""
        return None

    def fuse_features(self, encoding: Encoding, pol: Any, call: Call) -> Encoding:
        """2: the encoding with other matching features, (B, host.feature_dim, h, w) for both views."""
        return encoding

    def modulate_volume(self, volume: Any, pol: Any, call: Call) -> Any:
        """3: another :class:`Correlation`, before any pyramid or regularisation: ``volume.modulate(weight)``."""
        return volume

    def inject_context(self, encoding: Encoding, pol: Any, disparity: Tensor | None, call: Call) -> tuple[Tensor, ...]:
        """4: the context of every level, (B, host.context_dims[i], h_i, w_i), always from the original.

        ``disparity`` (B, 1, h, w) in feature pixels is what the last pass found, None in the first.
        """
        return encoding.context

    def modulate_lookup(self, cost: Any, pol: Any, disparity: Tensor, step: Step, at: Sites) -> Any:
        """5: the cost that the cell reads, in every iteration.

        Args:
            cost: (B, len(host.lookup), h, w), looked up around ``disparity``; values at ``at`` when sparse.
            disparity: (B, 1, h, w), feature pixels, the whole map, detached.
            step: where the loop is; ``step.alpha`` is the scheduled weight of polarization.
            at: the pixels; whatever is read around them is asked for by ``at.grow(self.reach)``.

        Returns:
            (B, lookup_dim(), h, w), or as many values at ``at``.
        """
        return cost


class State(NamedTuple):
    """What warm-starts the next frame of a video: disparity, hidden states and sites on the feature grid."""

    disparity: Tensor
    hidden: tuple[Tensor, ...]
    sites: Sites


class Trace(NamedTuple):
    """One iteration on the feature grid: the increment, the disparity after it and the hidden states."""

    delta: Tensor
    disparity: Tensor
    hidden: tuple[Tensor, ...]


class StereoOutput(NamedTuple):
    """What a model returns.

    Attributes:
        disparity: (B, 1, H, W) float32, pixels of the input size; never clamped.
        first: (B, 1, h, w) the volume's first disparity, feature pixels, padded grid; the loop started from it unless
            a warm start was given.
        state: warm start for the next frame.
        sequence: the full-size disparity after each of the N iterations (``all_iterations=True``), else empty.
        trace: one :class:`Trace` per iteration (``trace=True``), else empty.
    """

    disparity: Tensor
    first: Tensor
    state: State
    sequence: tuple[Tensor, ...] = ()
    trace: tuple[Trace, ...] = ()


class Recipe(nn.Module):
    """Training as a module: ``forward(batch)`` returns named losses with ``loss`` their total, so that wrapping and
    sharding see every call; ``model`` is what gets trained and written.

    ``options`` are the recipe's own, with ``weight_decay`` and ``eps`` of the optimiser among them. One whose class
    says ``teacher = True`` is made of a second, frozen model that it learns from: ``Recipe(options, model, teacher)``.
    One that says ``needs_truth = False`` takes pairs without a true disparity, too: in a batch that is NaN, and their
    ``valid`` False.
    """

    teacher: ClassVar[bool] = False
    needs_truth: ClassVar[bool] = True
    model: StereoModel
    options: Any

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Losses of a collated batch of samples; ``batch["step"]`` is the number of optimisation steps done before."""
        raise NotImplementedError

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups, each with its own ``lr``."""
        raise NotImplementedError

    def alpha_cap(self, step: int) -> float:
        """Cap of the fusion's learned weight, in [0, 1], after ``step`` optimisation steps; a checkpoint stores it."""
        return 1.0


class Importance(Protocol):
    """Where a sparse update operator should work."""

    def __call__(self, encoding: Encoding, disparity: Tensor, step: Step) -> Tensor:
        """(B, 1, h, w) on the feature grid; larger is more important."""
        ...


class Dataset(Protocol):
    """A finite, indexable collection of :class:`polzoo.data.sample.Sample`."""

    def __len__(self) -> int:
        """How many samples there are, 1 or more."""
        ...

    def __getitem__(self, index: int) -> Any:
        """Sample ``index``, the same every time. Raises IndexError where ``index`` is not in [0, len)."""
        ...


class Metric(Protocol):
    """A number over the pixels of a region: sums over pixels and their count, so that averages are exact.

    ``label`` names it in a table; ``unit`` is "px", or "%" for a share (its sum then counts pixels, and tables show
    100 · sum / count). Arrays are (H, W); a prediction is NaN or infinite where there is no estimate.

    Two further attributes are optional: ``finish(mean) -> float`` makes a figure of a mean (a root mean square takes
    the root); ``per_pair = True`` says that the figure belongs to one pair and does not add up over pixels (a
    quantile): it returns (figure · number, number), and averages are over pairs alone.
    """

    label: str
    unit: str

    def __call__(self, predicted: Any, truth: Any, region: Any) -> tuple[float, int]:
        """(sum, number) over the pixels of ``region`` (H, W) bool; ``truth`` is finite in it."""
        ...


class Baseline(Protocol):
    """A method without learned weights: disparity (H, W) float32 from a pair; NaN where it gives none."""

    def __call__(self, left: Any, right: Any) -> Any:
        """Views (3, H, W) float32 in [0, 1] → (H, W) float32, pixels, positive."""
        ...
