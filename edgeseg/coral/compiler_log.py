"""What the Edge TPU compiler prints, and its `_edgetpu.log` file, read back.

Layout and texts are those of versions 1.0 to 16.0 as users reported them in issues of
https://github.com/google-coral/edgetpu; the numbers beside the failures are such issues.
"""

import re
from typing import NamedTuple, Optional, Tuple

MAPPED = "Mapped to Edge TPU"
# Reasons to leave an operator to the CPU that depend on its size (31, 187, 63)
_OF_SIZE = ("unspecified limitation", "run precisely enough")

_VERSION = re.compile(r"Edge TPU Compiler version (\S+)")
_SUCCESS = re.compile(r"^Models? compiled successfully", re.MULTILINE)
_TABLE = re.compile(r"^Operator\s+Count\s+Status\s*$", re.MULTILINE)
_ROW = re.compile(r"^(\S+)\s+(\d+)\s+(.+?)\s*$")
_UNITS = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Row(NamedTuple):
    """Operators of one name with one fate; a name may have several rows."""

    operator: str
    number: int  # of operators
    status: str

    @property
    def mapped(self) -> bool:
        """Whether they run on the Edge TPU. A status that is not known means the CPU."""
        return self.status == MAPPED

    @property
    def size_matters(self) -> bool:
        """Whether they may run on the Edge TPU at another input size."""
        return any(reason in self.status for reason in _OF_SIZE)


class CompilerLog(NamedTuple):
    """The compiler's account of one model. None: it does not say. Sizes in bytes, as precise as it prints them."""

    version: str
    succeeded: bool
    rows: Tuple[Row, ...]
    input_bytes: Optional[int]
    output_bytes: Optional[int]
    cached_bytes: Optional[int]  # parameters in the memory of the Edge TPU
    free_bytes: Optional[int]  # left of that memory
    streamed_bytes: Optional[int]  # parameters that travel at each inference
    subgraphs: Optional[int]
    operators: Optional[int]


class Failure(NamedTuple):
    """Why there is no result, and what a user can do."""

    cause: str
    fix: str
    again: bool = False  # the same file may compile at the next try
    size_matters: bool = False  # the network may compile at another input size


def parse_log(text: str) -> CompilerLog:
    """Read what the compiler printed, or its log file, which holds version and rows only.

    Several results, as `--search_delegate` and co-compilation print them: the last one counts.
    """
    version = _VERSION.search(text)
    rest = text[max(0, text.rfind("\nInput model:")) :]
    succeeded = _SUCCESS.search(text) and "Compilation failed" not in rest and "Internal compiler error" not in text
    return CompilerLog(
        version=version.group(1) if version else "",
        succeeded=bool(succeeded),
        rows=_rows(rest),
        input_bytes=_size(rest, "Input size"),
        output_bytes=_size(rest, "Output size"),
        cached_bytes=_size(rest, "On-chip memory used for caching model parameters"),
        free_bytes=_size(rest, "On-chip memory remaining for caching model parameters"),
        streamed_bytes=_size(rest, "Off-chip memory used for streaming uncached model parameters"),
        subgraphs=_count(rest, "Number of Edge TPU subgraphs"),
        operators=_count(rest, "Total number of operations"),
    )


def _rows(text: str) -> Tuple[Row, ...]:
    tables = list(_TABLE.finditer(text))
    if not tables:
        return ()
    rows = []
    for line in text[tables[-1].end() :].strip().splitlines():
        match = _ROW.match(line)
        if not match:
            break
        rows.append(Row(match.group(1), int(match.group(2)), match.group(3)))
    return tuple(rows)


def _size(text: str, label: str) -> Optional[int]:
    match = re.search(r"^{}: (\d+(?:\.\d+)?)(B|KiB|MiB|GiB)\s*$".format(re.escape(label)), text, re.MULTILINE)
    return round(float(match.group(1)) * _UNITS[match.group(2)]) if match else None


def _count(text: str, label: str) -> Optional[int]:
    match = re.search(r"^{}: (\d+)\s*$".format(re.escape(label)), text, re.MULTILINE)
    return int(match.group(1)) if match else None


_OTHER_SIZE = (
    "use another input size: edgeseg export NETWORK --target coral --imgsz HEIGHT WIDTH "
    "(smaller ones fit sooner, but not every smaller one does)"
)
_PREFLIGHT = "`edgeseg inspect FILE --target coral` names what the compiler does not take, and what to do about it"
_NEWER = "convert the network with edgeseg, or with an older TensorFlow, or without this operator; " + _PREFLIGHT

# The first that is found counts, so what names a cause stands before what only says that there is one. Standard
# output and error may come in any order.
_FAILURES = (
    (  # 845, 631, 879, 34
        r"Didn't find op for builtin opcode '(?P<a>\w+)' version '(?P<b>\d+)'",
        Failure("it does not know {a} in version {b}, which a newer TensorFlow wrote", _NEWER),
    ),
    (  # 862
        r"Op builtin_code out of range: (?P<a>\d+)",
        Failure("it does not know operator number {a}, which a newer TensorFlow wrote", _NEWER),
    ),
    (
        r"unresolved custom op: (?P<a>[^\s]+?)\.?(\s|$)",
        Failure("it does not know the custom operator {a}", "leave the operator out of the network; " + _PREFLIGHT),
    ),
    (  # 829
        r"graph that has dynamic-sized tensors",
        Failure(
            "the file has tensors of dynamic size",
            "give every tensor a fixed size, the batch 1, before converting: keras.Input(batch_shape=(1, H, W, 3))",
        ),
    ),
    (
        r"Model failed in Tflite interpreter",
        Failure("its TensorFlow Lite (2.5) cannot run the file", _PREFLIGHT),
    ),
    (
        r"Model not quantized",
        Failure(
            "the file has float tensors, or a batch of no fixed size",
            "convert the network to full-integer int8 with batch 1, as `edgeseg export` does; " + _PREFLIGHT,
        ),
    ),
    (
        r"Model could not be parsed|Invalid model",
        Failure("it cannot parse the file", "export the network again; " + _PREFLIGHT),
    ),
    (  # 439, 449, 512, 608, 653
        r"large activation tensors",
        Failure("the activations are too large at this input size", _OTHER_SIZE, size_matters=True),
    ),
    (  # 686
        r"Compilation timeout",
        Failure("it gave up at its time limit, as it does with large activations", _OTHER_SIZE, size_matters=True),
    ),
    (  # 400
        r"Error opening file for writing",
        Failure("it could not write its result", "free some space in the folder for temporary files ($TMPDIR)"),
    ),
    (  # 189, 206, 211, 358
        r"Internal compiler error",
        Failure("internal compiler error, which it does not explain", _OTHER_SIZE, again=True, size_matters=True),
    ),
    (  # 728
        r"(?:terminating|terminate called)[^\n]*(?:type |of ')(?P<a>[^\n']+)",
        Failure("it crashed ({a})", _OTHER_SIZE, again=True, size_matters=True),
    ),
)
# "Compilation failed! " and no more (187, 707, 714, 903), or nothing but the version (411)
_UNEXPLAINED = Failure("it gave no reason", _OTHER_SIZE, again=True, size_matters=True)


def find_failure(text: str) -> Failure:
    """The cause of a failed compilation, as far as the compiler's output tells."""
    for pattern, failure in _FAILURES:
        match = re.search(pattern, text)
        if match:
            return failure._replace(cause=failure.cause.format(**match.groupdict()))
    return _UNEXPLAINED
