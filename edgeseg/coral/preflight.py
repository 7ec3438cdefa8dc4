"""What Edge TPU compiler 16.0 will make of a .tflite file, predicted from the file alone.

The compiler puts one subgraph on the Edge TPU: what depends on an operator that it leaves on the CPU, after operators
that it maps, stays on the CPU too ("More than one subgraph is not supported", google-coral/edgetpu#461).
"""

from typing import Dict, List, NamedTuple, Optional, Set, Tuple

from edgeseg.coral.operators import CPU, INTEGER, QUANTISE, TPU, UNREADABLE, judge, unproven
from edgeseg.coral.registry import COMPILER, TENSORFLOW
from edgeseg.errors import CheckFailed
from edgeseg.tflite.checks import FLOATS
from edgeseg.tflite.model import TfliteModel
from edgeseg.tflite.node import size_of

# Of the 8 MiB of memory, what compiler 16.0 reports as left for parameters beside a layer of 64 KB
# (ricardodeazambuja/LibrEdgeTPU, docs/HARDWARE_ANALYSIS.md)
CACHE_BYTES = int(7.67 * 2**20)
# A file with 2,539,852 bytes of parameters takes 3.86 MiB (mathieugalle/edgetpu-compiler-pad-fail, v16 log)
LARGEST_GROWTH = 1.6
# The largest tensor of the files that were seen to map: posenet_mobilenet_v1_075_721_1281 of google-coral/test_data
LARGEST_ACTIVATION = 361 * 641 * 48
SHOWN = 3


def shorten(name: str) -> str:
    """A name for people: of several fused layers the first, and at most 60 characters, the last ones."""
    first = name.split(";", maxsplit=1)[0]
    return first if len(first) <= 60 else "..." + first[-57:]


class Verdict(NamedTuple):
    """Where one operator runs; `reason` and `fix` are empty on the Edge TPU."""

    number: int  # of the operator, from 0
    operator: str
    version: int
    output: str  # name of its first output
    place: str  # tpu | cpu | unreadable: the compiler ends when it meets this operator
    reason: str
    fix: str
    after: Optional[int] = None  # on the CPU only because the operator of this number is

    @property
    def title(self) -> str:
        """Its number, kind and place in the network; a long name is cut."""
        return "#{} {} {}".format(self.number, self.operator, shorten(self.output))


class Problem(NamedTuple):
    """A fault of the whole file."""

    text: str
    fix: str
    stops: bool  # the compiler refuses the file


class Preflight(NamedTuple):
    """Verdicts in the order of the operators, and what holds for the file."""

    verdicts: Tuple[Verdict, ...]
    problems: Tuple[Problem, ...]
    notes: Tuple[str, ...]  # what was never seen to map, nor to fail
    first_break: Optional[Verdict]  # the first operator that ends the subgraph of the Edge TPU
    min_runtime_version: str  # as the converter wrote it, "" if it did not
    parameter_bytes: int
    cache_bytes: int  # what the memory of the Edge TPU holds of them

    @property
    def readable(self) -> bool:
        """Whether the compiler takes the file at all."""
        return not any(v.place == UNREADABLE for v in self.verdicts) and not any(p.stops for p in self.problems)

    @property
    def mapped_share(self) -> float:
        """Share of the operators that run on the Edge TPU, 0 to 1; 0 if the compiler refuses the file."""
        mapped = sum(v.place == TPU for v in self.verdicts)
        return mapped / len(self.verdicts) if self.verdicts and self.readable else 0.0

    @property
    def whole(self) -> bool:
        """Whether every operator runs on the Edge TPU, in one subgraph."""
        return self.mapped_share == 1

    @property
    def cached(self) -> bool:
        """Whether the parameters stay in the memory of the Edge TPU."""
        return self.parameter_bytes <= self.cache_bytes

    def summary(self) -> str:
        """The verdict in a line."""
        if not self.readable:
            refused = sum(v.place == UNREADABLE for v in self.verdicts) + sum(p.stops for p in self.problems)
            return "compiler {} refuses this file: {} cause(s)".format(COMPILER, refused)
        mapped = sum(v.place == TPU for v in self.verdicts)
        text = "{} of {} operators on the Edge TPU ({:.0%})".format(mapped, len(self.verdicts), self.mapped_share)
        if self.whole:
            text += ", in one subgraph"
        elif self.first_break:
            text += ", up to " + self.first_break.title
        return text + (", parameters cached on chip" if self.cached else ", some parameters streamed at each inference")


def preflight(model: TfliteModel) -> Preflight:
    """Predict what the compiler makes of an uncompiled file."""
    verdicts, first_break = _verdicts(model)
    parameters = _parameter_bytes(model)
    return Preflight(
        verdicts,
        tuple(_problems(model, verdicts, parameters)),
        tuple(_notes(model, verdicts, parameters)),
        first_break,
        model.min_runtime_version,
        parameters,
        CACHE_BYTES,
    )


def require_whole(model: TfliteModel, what: str) -> Preflight:
    """The preflight of a file that must run on the Edge TPU as a whole.

    Raises CheckFailed with the first faults of `what`, and how to mend them.
    """
    found = preflight(model)
    if found.whole:
        return found
    faults = [(p.text, p.fix) for p in found.problems if p.stops]
    faults += [("{}: {}".format(v.title, v.reason), v.fix) for v in found.verdicts if v.reason and v.after is None]
    texts = [text for text, _ in faults[:SHOWN]]
    if len(faults) > SHOWN:
        texts.append("and {} more: edgeseg inspect FILE --target coral".format(len(faults) - SHOWN))
    fixes = []
    for _, fix in faults[:SHOWN]:
        if fix not in fixes:
            fixes.append(fix)
    raise CheckFailed(
        "{} does not run on the Edge TPU as a whole: {}\n  {}".format(what, found.summary(), "\n  ".join(texts)),
        "; ".join(fixes),
    )


def _verdicts(model: TfliteModel) -> Tuple[Tuple[Verdict, ...], Optional[Verdict]]:
    """The verdicts, and the first operator that is on the CPU after operators on the Edge TPU."""
    verdicts: List[Verdict] = []
    reached: Set[int] = set()  # tensors that the Edge TPU makes
    broken: Dict[int, int] = {}  # tensors made on the CPU after it -> the first operator that is the cause
    first_break = None
    for index, operator in enumerate(model.operators):
        place, reason, fix = judge(model, operator)
        cause = min((broken[i] for i in operator.inputs if i in broken), default=None)
        after = cause if place == TPU else None
        if after is not None:
            title = verdicts[after].title
            place, reason = CPU, "More than one subgraph is not supported: it comes after " + title
            fix = "mend {} first".format(title)
        output = model.tensors[operator.outputs[0]].name if operator.outputs else ""
        verdicts.append(Verdict(index, operator.name, operator.version, output, place, reason, fix, after))
        if place == TPU:
            reached.update(operator.outputs)
        elif cause is not None or reached.intersection(operator.inputs):
            broken.update((i, index if cause is None else cause) for i in operator.outputs)
            first_break = first_break or verdicts[-1]
    return tuple(verdicts), first_break


def _problems(model: TfliteModel, verdicts: Tuple[Verdict, ...], parameters: int) -> List[Problem]:
    problems = []
    if model.subgraphs != 1:
        text = "{} subgraphs: the network has branches or loops that are decided at run time".format(model.subgraphs)
        problems.append(Problem(text, "convert a network of layers only", True))
    dynamic = [t for t in model.tensors if -1 in t.shape_signature]
    if dynamic:
        text = "{} tensor(s) of dynamic shape, first {} {}: the compiler takes constant sizes only".format(
            len(dynamic), shorten(dynamic[0].name), list(dynamic[0].shape_signature)
        )
        fix = "name the batch before converting: keras.Input(batch_shape=(1, height, width, channels))"
        problems.append(Problem(text, fix, True))
    if not any(model.tensors[i].type in ("int8", "uint8") for o in model.operators for i in o.outputs):
        text = "the network is not quantised: the compiler ends with 'Model not quantized'"
        problems.append(Problem(text, QUANTISE, True))
    if _newest(model.min_runtime_version) > TENSORFLOW:
        text = "it needs TensorFlow Lite {}, says its converter; compiler {} reads what {} reads".format(
            model.min_runtime_version, COMPILER, ".".join(str(n) for n in TENSORFLOW)
        )
        named = any(v.place == UNREADABLE for v in verdicts)
        fix = "mend the operators that cannot be read" if named else "convert it with TensorFlow 2.5"
        problems.append(Problem(text, fix, True))
    return problems + _border_problems(model) + _memory_problems(parameters)


def _border_problems(model: TfliteModel) -> List[Problem]:
    problems = []
    for side, indices in (("input", model.inputs), ("output", model.outputs)):
        floats = [model.tensors[i] for i in indices if model.tensors[i].type in FLOATS]
        if floats:
            text = "{} of {} {}(s) are {}, first {}: the CPU converts them at each inference".format(
                len(floats), len(indices), side, floats[0].type, shorten(floats[0].name)
            )
            problems.append(Problem(text, INTEGER, False))
    return problems


def _memory_problems(parameters: int) -> List[Problem]:
    if parameters <= CACHE_BYTES:
        return []
    text = "{:.2f} MB of parameters, and {:.2f} MB stay on chip: the rest is sent at each inference".format(
        parameters / 1e6, CACHE_BYTES / 1e6
    )
    return [Problem(text, "use fewer channels: a smaller width or backbone", False)]


def _notes(model: TfliteModel, verdicts: Tuple[Verdict, ...], parameters: int) -> List[str]:
    notes = []
    padded = {i for o in model.operators if o.name == "PAD" for i in o.outputs}
    for verdict, operator in zip(verdicts, model.operators):
        if verdict.place != TPU:
            continue
        found = [unproven(model, operator)]
        if operator.name == "ADD" and padded.intersection(operator.inputs):
            found.append("adds the output of a PAD: compiler 16.0 failed on that once (edgetpu-compiler-pad-fail)")
        notes += ["{}: {}".format(verdict.title, note) for note in found if note]
    largest = max((size_of(model.tensors[i].shape) for o in model.operators for i in o.outputs), default=0)
    if largest > LARGEST_ACTIVATION:
        notes.append(
            "its largest tensor has {:.1f} M elements, and {:.1f} M are known to compile: the compiler may end with "
            "'large activation tensors'; a smaller input helps".format(largest / 1e6, LARGEST_ACTIVATION / 1e6)
        )
    if parameters <= CACHE_BYTES < LARGEST_GROWTH * parameters:
        notes.append("the compiler pads parameters, by up to 1.6 times: some may not stay on chip")
    return notes


def _parameter_bytes(model: TfliteModel) -> int:
    """Constants of the operators; those of indices, a few bytes each, count too."""
    return sum(len(model.tensors[i].data) for i in {i for o in model.operators for i in o.inputs if i >= 0})


def _newest(text: str) -> Tuple[int, ...]:
    parts = text.split(".")
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else ()
