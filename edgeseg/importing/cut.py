"""End a .tflite graph at an earlier tensor.

The file is changed in place, as no other reader or writer of its schema is needed for that: the list of operators
becomes shorter, the output another one. Tensors that nothing uses any more stay behind; runtimes give them no memory.
"""

import struct
from typing import List, Optional

from edgeseg.errors import BundleError
from edgeseg.tflite.flatbuffer import root_table
from edgeseg.tflite.model import TfliteModel, read_tflite

# Numbers of fields in schema.fbs.
_MODEL_SUBGRAPHS, _MODEL_SIGNATURES = 2, 7
_SUBGRAPH_OUTPUTS, _SUBGRAPH_OPERATORS = 2, 3


def end_at(data: bytes, tensor: int) -> bytes:
    """The .tflite file `data` with `tensor` as its one output, and with those operators alone that it takes.

    Signatures are left out: they name the old output. Raises BundleError for a file whose parts overlap.
    """
    model = read_tflite(data)
    kept = _needed(model, tensor)
    changed = bytearray(data)
    root = root_table(data)
    graph = root.tables(_MODEL_SUBGRAPHS)[0]
    _keep(changed, graph.start(_SUBGRAPH_OPERATORS), kept)
    _keep(changed, root.start(_MODEL_SIGNATURES), [])
    outputs = graph.start(_SUBGRAPH_OUTPUTS)
    assert outputs is not None  # the model has one
    struct.pack_into("<Ii", changed, outputs, 1, tensor)
    _check(model, read_tflite(bytes(changed)), kept, tensor)
    return bytes(changed)


def _needed(model: TfliteModel, tensor: int) -> List[int]:
    """Indices of the operators from which `tensor` comes, in their order."""
    wanted, kept = {tensor}, []
    for index in reversed(range(len(model.operators))):
        operator = model.operators[index]
        if wanted.intersection(operator.outputs):
            wanted.update(operator.inputs)
            kept.append(index)
    return kept[::-1]


def _keep(data: bytearray, start: Optional[int], kept: List[int]) -> None:
    """Shorten a vector of tables, which begins with its length, to the entries `kept`.

    An entry is how far away its table is, so entries that move change.
    """
    if start is None:
        return
    first = start + 4
    tables = [first + 4 * i + struct.unpack_from("<I", data, first + 4 * i)[0] for i in kept]
    struct.pack_into("<I", data, start, len(kept))
    for i, table in enumerate(tables):
        struct.pack_into("<I", data, first + 4 * i, table - (first + 4 * i))


def _check(old: TfliteModel, new: TfliteModel, kept: List[int], tensor: int) -> None:
    """A FlatBuffer may use bytes twice, though no writer of such files does: then more has changed than was meant."""
    expected = old._replace(operators=tuple(old.operators[i] for i in kept), outputs=(tensor,))
    if new != expected:
        raise BundleError("the parts of the .tflite file overlap: its graph cannot be cut", "convert the model again")
