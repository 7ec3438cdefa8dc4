"""The network, width and resolution to train for a budget of computation or time.

Of what fits, the candidate is taken that is expected to lose least:

1. The finest output stride: 8 saves 13 % of the computation of SPP at width 1.0 (24 % at 0.35), and loses details for
   good: labels of CamVid val, averaged over cells of 4, 8, 16, 32 pixels and interpolated back, still have 93.2, 85.0,
   75.5 and 63.6 % mIoU; poles 62, 17, 1 and 0 %.
2. Then the least expected loss, 6 (1 / width - 1) + 10 (1 / scale - 1) points, where scale is the side of the network's
   input over that of the data's images. Both terms grow faster the more one multiplier alone is turned down, so width
   and resolution are turned down together, as EfficientNet does (Tan and Le 2019, arXiv 1905.11946).
   6: top-1 of MobileNetV2 at 224 pixels, widths 0.35, 0.5, 0.75, 1.0: 60.3, 65.4, 69.8, 71.8 % (table of
   https://keras.io/api/applications/mobilenet). 10: mIoU of fcn8-camvid on every second image of CamVid val, exported
   at 352x480, 288x384, 256x352, 224x320, 192x256 and 160x224: 73.5, 71.4, 69.8, 68.1, 64.9, 60.9 %.

MACs do not tell the time (Ma et al. 2018, ShuffleNetV2, arXiv 1807.11164), so milliseconds are measured where that
can be done, and what is only estimated is called so.
"""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple, Protocol

from edgeseg.errors import UsageError
from edgeseg.export.measure import measure_ms, random_int8
from edgeseg.export.roofline import Chip, estimate_ms
from edgeseg.models.cost import Operation, cost_of, operations, outline, scaled
from edgeseg.models.spec import ARCHITECTURES, SIZE_MULTIPLE, NetworkSpec, check, sizes_below

Size = tuple[int, int]  # height, width

WIDTHS = (1.4, 1.0, 0.75, 0.5, 0.35)
NETWORKS = ("spp", "fcn8", "fcn16", "fcn32")  # finest output stride first
_SMALLEST_SHARE = 0.25  # of the side of the data's images
_WIDTH_LOSS, _SCALE_LOSS = 6, 10  # points of mIoU, see above

MOST_CONFIRMED = 8
_FIRST_MS_PER_MAC = 7e-9  # fcn8-camvid on two cores (its model card); says only what is measured first


class Fixed(NamedTuple):
    """What the user has chosen besides the width; None is free."""

    network: str | None = None
    imgsz: Size | None = None


class Candidate(NamedTuple):
    spec: NetworkSpec
    scale: float  # side of its input over that of the data's images

    @property
    def preference(self) -> tuple[int, float]:
        """Less is better."""
        loss = _WIDTH_LOSS * (1 / self.spec.width - 1) + _SCALE_LOSS * (1 / self.scale - 1)
        return NETWORKS.index(self.spec.architecture), loss


class Meter(Protocol):
    """What a budget is counted in. `predict` is quick, and must put candidates about right; `confirm` is the figure."""

    unit: str
    how: str  # the figures are come by

    def predict(self, spec: NetworkSpec) -> float: ...

    def confirm(self, spec: NetworkSpec) -> float: ...


class Choice(NamedTuple):
    spec: NetworkSpec
    figure: float  # of the meter
    rejected: list[tuple[NetworkSpec, float, bool]]  # better, but beyond the budget: with its figure, if confirmed


class Graphs:
    """Operations of networks. A graph is built once for each network and width, and scaled to other sizes."""

    def __init__(self) -> None:
        self._built: dict[tuple[str, float], tuple[Size, list[Operation]]] = {}

    def about(self, spec: NetworkSpec) -> list[Operation]:
        """Exact for the FCNs, nearly so for SPP."""
        key = (spec.architecture, spec.width)
        if key not in self._built:
            self._built[key] = spec.imgsz, operations(outline(spec))
        imgsz, steps = self._built[key]
        return scaled(steps, Fraction(math.prod(spec.imgsz), math.prod(imgsz)))

    def macs(self, spec: NetworkSpec) -> int:
        return sum(step.macs for step in self.about(spec))


class Counted:
    """Multiply-accumulates."""

    unit, how = "MACs", "counted"

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs

    def predict(self, spec: NetworkSpec) -> float:
        return self._graphs.macs(spec)

    def confirm(self, spec: NetworkSpec) -> float:
        return cost_of(outline(spec)).macs


class Estimated:
    """Milliseconds on a board, by its roofline."""

    unit, how = "ms", "estimated"

    def __init__(self, graphs: Graphs, chip: Chip) -> None:
        self._graphs, self._chip = graphs, chip

    def predict(self, spec: NetworkSpec) -> float:
        return estimate_ms(self._graphs.about(spec), self._chip)

    def confirm(self, spec: NetworkSpec) -> float:
        return estimate_ms(operations(outline(spec)), self._chip)


class Measured:
    """Milliseconds on the CPU of this machine; predicted from the MACs and the measured network next in MACs."""

    unit, how = "ms", "measured"

    def __init__(self, graphs: Graphs, threads: int, log: Callable[[str], None]) -> None:
        self._graphs, self._threads, self._log = graphs, threads, log
        self._rates: dict[int, float] = {}  # milliseconds a MAC, by MACs

    def predict(self, spec: NetworkSpec) -> float:
        macs = self._graphs.macs(spec)
        nearest = min(self._rates, key=lambda known: abs(math.log(known / macs)), default=0)
        return macs * self._rates.get(nearest, _FIRST_MS_PER_MAC)

    def confirm(self, spec: NetworkSpec) -> float:
        self._log(f"measuring {title(spec)}")
        (ms,) = measure_ms([random_int8(spec)], self._threads)
        macs = self._graphs.macs(spec)
        self._rates[macs] = ms / macs
        return ms


def candidates(data: Size, classes: int, fixed: Fixed, widths: Sequence[float]) -> list[Candidate]:
    """What may be chosen, best first, of these widths. `data` is the size of the images.

    Raises UsageError where what is fixed cannot be built.
    """
    found = []
    for network in NETWORKS if fixed.network is None else [fixed.network]:
        for width in widths:
            check(NetworkSpec(network, width, fixed.imgsz or _OF_ANY, classes))
            for imgsz in [fixed.imgsz] if fixed.imgsz else _sizes(data, ARCHITECTURES[network].smallest):
                scale = math.sqrt(math.prod(imgsz) / math.prod(data))
                found.append(Candidate(NetworkSpec(network, width, imgsz, classes), scale))
    return sorted(found, key=lambda candidate: candidate.preference)


_OF_ANY: Size = (2 * SIZE_MULTIPLE, 2 * SIZE_MULTIPLE)  # a size that every network takes


def _sizes(data: Size, smallest: int) -> list[Size]:
    height, width = (max(smallest, side // SIZE_MULTIPLE * SIZE_MULTIPLE) for side in data)
    return [(height, width), *sizes_below((height, width), smallest, _SMALLEST_SHARE)]


def choose(found: Sequence[Candidate], limit: float, meter: Meter) -> Choice:
    """The first of `found` whose figure is `limit` at most. Raises UsageError, naming the cheapest, if none is."""
    specs = [candidate.spec for candidate in found]
    known: dict[NetworkSpec, float] = {}

    def figure(spec: NetworkSpec) -> float:
        return known[spec] if spec in known else meter.predict(spec)

    while True:
        may_be_taken = specs if len(known) < MOST_CONFIRMED else list(known)
        best = next((spec for spec in specs if spec in may_be_taken and figure(spec) <= limit), None)
        if best is None:
            cheapest = min(may_be_taken, key=figure)
            if cheapest in known:
                raise UsageError(
                    f"nothing fits into {amount(limit, meter.unit)}: the smallest, {title(cheapest)}, takes "
                    f"{amount(known[cheapest], meter.unit)} ({meter.how})",
                    f"give at least {amount(1.02 * known[cheapest], meter.unit)}",
                )
            best = cheapest
        if best in known:
            better = specs[: specs.index(best)]
            return Choice(best, known[best], [(spec, figure(spec), spec in known) for spec in better])
        known[best] = meter.confirm(best)


def title(spec: NetworkSpec) -> str:
    return "{} {:g} at {}x{}".format(spec.architecture, spec.width, *spec.imgsz)


def amount(figure: float, unit: str) -> str:
    """A figure with its unit, for people."""
    if unit == "ms":
        return f"{figure:.3g} ms"
    return f"{figure / 1e9:.3g} G MACs" if figure >= 1e9 else f"{figure / 1e6:.3g} M MACs"
