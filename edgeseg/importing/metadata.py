"""TFLite Metadata: what the makers of a .tflite file wrote into it about its use.

A FlatBuffer of tensorflow_lite_support/metadata/metadata_schema.fbs in tensorflow/tflite-support; the files that it
names are in a ZIP archive appended to the model.
"""

import io
import struct
import zipfile
from typing import List, NamedTuple, Optional, Tuple

from edgeseg.tflite.flatbuffer import Table, root_table
from edgeseg.tflite.model import TfliteModel

_NAME = "TFLITE_METADATA"
_MARK = b"M001"
_MAX_LABEL_BYTES = 1 << 20

# Numbers of fields in the schema.
_MODEL_NAME, _MODEL_SUBGRAPHS, _MODEL_FILES = 0, 3, 6
_GRAPH_INPUTS, _GRAPH_OUTPUTS, _GRAPH_FILES = 2, 3, 4
_TENSOR_UNITS, _TENSOR_FILES = 4, 6
_UNIT_KIND, _UNIT_OPTIONS = 0, 1
_FILE_NAME, _FILE_TYPE = 0, 2
_NORMALIZATION = 1  # of union ProcessUnitOptions
_LABEL_FILES = (2, 3)  # of enum AssociatedFileType: labels of an axis, labels of values


class Metadata(NamedTuple):
    """What is known from the metadata: input values are (pixel - mean) / std, with 1 or 3 numbers each, () if unknown.

    `labels` is the content of the label file, None if there is none.
    """

    name: str = ""
    mean: Tuple[float, ...] = ()
    std: Tuple[float, ...] = ()
    labels: Optional[bytes] = None


def read_metadata(model: TfliteModel, data: bytes) -> Metadata:
    """The metadata of `model`, read from the file `data`. Damaged metadata counts as absent: it only helps."""
    content = model.metadata.get(_NAME, b"")
    if content[4:8] != _MARK:
        return Metadata()
    try:
        return _read(root_table(content), data)
    except (struct.error, IndexError, ValueError):
        return Metadata()


def _read(root: Table, data: bytes) -> Metadata:
    mean: Tuple[float, ...] = ()
    std: Tuple[float, ...] = ()
    files = root.tables(_MODEL_FILES)
    for graph in root.tables(_MODEL_SUBGRAPHS)[:1]:
        files = graph.tables(_GRAPH_FILES) + files
        for tensor in graph.tables(_GRAPH_OUTPUTS)[:1]:
            files = tensor.tables(_TENSOR_FILES) + files
        for tensor in graph.tables(_GRAPH_INPUTS)[:1]:
            for unit in tensor.tables(_TENSOR_UNITS):
                options = unit.table(_UNIT_OPTIONS)
                if unit.scalar(_UNIT_KIND, "<B", 0) == _NORMALIZATION and options is not None:
                    mean, std = options.vector(0, "f"), options.vector(1, "f")
    if not {len(mean), len(std)} <= {1, 3} or not min(std) > 0:
        mean = std = ()
    return Metadata(root.text(_MODEL_NAME), mean, std, _labels(files, data))


def _labels(files: List[Table], data: bytes) -> Optional[bytes]:
    """The first file that is marked as labels."""
    names = [file.text(_FILE_NAME) for file in files if file.scalar(_FILE_TYPE, "<b", 0) in _LABEL_FILES]
    if not names:
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(names[0]) as member:
            return member.read(_MAX_LABEL_BYTES)
    except Exception:  # zipfile has no one exception for what damaged archives do to it
        return None
