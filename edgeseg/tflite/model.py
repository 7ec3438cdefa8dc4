"""Read the facts of a .tflite file without an inference runtime.

The file is a FlatBuffer of the schema in TensorFlow Lite's `schema.fbs`. Every offset and length is checked
against the file, so a damaged file is an error and never a crash.
"""

import struct
from typing import Dict, List, NamedTuple, Tuple

from edgeseg.errors import BundleError
from edgeseg.tflite.flatbuffer import Table, root_table

# schema.fbs, enum BuiltinOperator, in order; the experimental operators above are shown by number.
_OPERATOR_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM
MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND
SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN
EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2
GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG
SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT
UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU
SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE
MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5
SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO
RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE
RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX
UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT
"""
# schema.fbs, enum TensorType
_TYPE_NAMES = """
float32 float16 int32 uint8 int64 string bool int16 complex64 int8 float64 complex128 uint64 resource variant uint32
uint16 int4 bfloat16
"""
_OPERATORS = _OPERATOR_NAMES.split()
_TYPES = _TYPE_NAMES.split()
_MAX_RANK = 16  # no kernel of TensorFlow Lite takes more than 8
CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")  # input 1 is the kernel in each

# schema.fbs, the tables of options: name -> (field number, struct format, default), of those that are asked for.
_ACTIVATION, _INT, _BOOL = "<b", "<i", "<b"
_POOL = {
    "stride_w": (1, _INT, 0),
    "stride_h": (2, _INT, 0),
    "filter_w": (3, _INT, 0),
    "filter_h": (4, _INT, 0),
    "activation": (5, _ACTIVATION, 0),
}
_FUSED = {"activation": (0, _ACTIVATION, 0)}
_OPTIONS: Dict[str, Dict[str, Tuple[int, str, int]]] = {
    "CONV_2D": {
        "stride_w": (1, _INT, 0),
        "stride_h": (2, _INT, 0),
        "activation": (3, _ACTIVATION, 0),
        "dilation_w": (4, _INT, 1),
        "dilation_h": (5, _INT, 1),
    },
    "DEPTHWISE_CONV_2D": {
        "stride_w": (1, _INT, 0),
        "stride_h": (2, _INT, 0),
        "activation": (4, _ACTIVATION, 0),
        "dilation_w": (5, _INT, 1),
        "dilation_h": (6, _INT, 1),
    },
    "TRANSPOSE_CONV": {"stride_w": (1, _INT, 0), "stride_h": (2, _INT, 0), "activation": (3, _ACTIVATION, 0)},
    "AVERAGE_POOL_2D": _POOL,
    "MAX_POOL_2D": _POOL,
    "CONCATENATION": {"axis": (0, _INT, 0), "activation": (1, _ACTIVATION, 0)},
    "ADD": _FUSED,
    "SUB": _FUSED,
    "MUL": _FUSED,
    "DIV": _FUSED,
    "FULLY_CONNECTED": {"activation": (0, _ACTIVATION, 0), "weights_format": (1, "<b", 0)},
    "PACK": {"axis": (1, _INT, 0)},
    "RESIZE_BILINEAR": {"align_corners": (2, _BOOL, 0), "half_pixel": (3, _BOOL, 0)},
    "RESIZE_NEAREST_NEIGHBOR": {"align_corners": (0, _BOOL, 0), "half_pixel": (1, _BOOL, 0)},
    "MEAN": {"keep_dims": (0, _BOOL, 0)},
    "STRIDED_SLICE": {
        "begin_mask": (0, _INT, 0),
        "end_mask": (1, _INT, 0),
        "ellipsis_mask": (2, _INT, 0),
        "new_axis_mask": (3, _INT, 0),
        "shrink_axis_mask": (4, _INT, 0),
    },
}


class Tensor(NamedTuple):
    """A tensor; `scale` and `zero_point` have one entry, one per channel, or none if not quantised.

    `data` are the bytes of a constant, empty for what is computed.
    """

    name: str
    shape: Tuple[int, ...]
    shape_signature: Tuple[int, ...]  # -1 where the size is dynamic
    type: str
    scale: Tuple[float, ...]
    zero_point: Tuple[int, ...]
    channel_axis: int
    data: bytes = b""

    @property
    def per_channel(self) -> bool:
        return (
            bool(self.scale)
            and self.channel_axis < len(self.shape)
            and len(self.scale) == self.shape[self.channel_axis]
        )


class Operator(NamedTuple):
    """An operator; `inputs` and `outputs` are indices of tensors, -1 for an optional input left out.

    A custom operator has the name "CUSTOM " and its own, and `custom_options`; others have `options`, numbers by name.
    """

    name: str
    version: int
    inputs: Tuple[int, ...]
    outputs: Tuple[int, ...]
    options: Dict[str, int]
    custom_options: bytes


class TfliteModel(NamedTuple):
    """The first subgraph of a .tflite file, and how many there are."""

    subgraphs: int
    operators: Tuple[Operator, ...]
    tensors: Tuple[Tensor, ...]
    inputs: Tuple[int, ...]
    outputs: Tuple[int, ...]
    size: int  # bytes of the file
    description: str
    metadata: Dict[str, bytes]  # by name

    @property
    def min_runtime_version(self) -> str:
        """The oldest TensorFlow Lite that runs the file, as its converter says; "" where it does not."""
        return self.metadata.get("min_runtime_version", b"").split(b"\0")[0].decode("ascii", "replace")

    def operator_counts(self) -> List[Tuple[str, int, int]]:
        """(name, version, how many), in the order of first use."""
        counts: Dict[Tuple[str, int], int] = {}
        for operator in self.operators:
            key = (operator.name, operator.version)
            counts[key] = counts.get(key, 0) + 1
        return [(name, version, count) for (name, version), count in counts.items()]


def read_tflite(data: bytes) -> TfliteModel:
    """Read the content of a .tflite file. Raises BundleError if it is damaged or not one."""
    if data[4:8] != b"TFL3":
        raise BundleError(
            "this is not a .tflite file (no TFL3 mark)", "give a file made by a TensorFlow Lite converter"
        )
    try:
        return _model(data)
    except (struct.error, IndexError, ValueError) as error:
        raise BundleError(
            f"the .tflite file is truncated or damaged ({error})", "copy the file again, or export it again"
        )


# Field numbers below are the order of fields in schema.fbs.


def _model(data: bytes) -> TfliteModel:
    root = root_table(data)
    codes = [_operator_code(table) for table in root.tables(1)]
    subgraphs = root.tables(2)
    if not subgraphs:
        raise ValueError("no subgraph")
    graph = subgraphs[0]
    buffers = _buffers(root)
    model = TfliteModel(
        len(subgraphs),
        tuple(_operator(table, codes) for table in graph.tables(3)),
        tuple(_tensor(table, buffers) for table in graph.tables(0)),
        graph.vector(1, "i"),
        graph.vector(2, "i"),
        len(data),
        root.text(3),
        {entry.text(0): buffers[entry.scalar(1, "<I", 0)] for entry in root.tables(6)},
    )
    _check_indices(model)
    return model


def _buffers(root: Table) -> List[bytes]:
    buffers, total = [], 0
    for table in root.tables(4):
        buffers.append(table.bytes(0))
        total += len(buffers[-1])
        if total > root.size:
            raise ValueError("buffers overlap")
    return buffers


def _check_indices(model: TfliteModel) -> None:
    groups = [model.inputs, model.outputs] + [o.inputs + o.outputs for o in model.operators]
    for index in (index for group in groups for index in group):
        if not -1 <= index < len(model.tensors):
            raise ValueError(f"tensor index {index} of {len(model.tensors)}")
    for operator in model.operators:
        if operator.name in CONVOLUTIONS and (len(operator.inputs) < 2 or operator.inputs[1] < 0):
            raise ValueError(f"{operator.name} without a kernel")
    if -1 in model.inputs + model.outputs:
        raise ValueError("an input or output without a tensor")


def _operator_code(table: Table) -> Tuple[str, int]:
    # Codes above 126 do not fit the old one-byte field, which then holds 127.
    code = max(table.scalar(0, "<b", 0), table.scalar(3, "<i", 0))
    name = _OPERATORS[code] if 0 <= code < len(_OPERATORS) else f"BUILTIN_{code}"
    if name == "CUSTOM":
        name = f"CUSTOM {table.text(1)}"
    return name, table.scalar(2, "<i", 1)


def _operator(table: Table, codes: List[Tuple[str, int]]) -> Operator:
    name, version = codes[table.scalar(0, "<I", 0)]
    wanted, found = _OPTIONS.get(name, {}), table.table(4)
    options = {
        key: default if found is None else found.scalar(number, form, default)
        for key, (number, form, default) in wanted.items()
    }
    return Operator(name, version, table.vector(1, "i"), table.vector(2, "i"), options, table.bytes(5))


def _tensor(table: Table, buffers: List[bytes]) -> Tensor:
    kind = table.scalar(1, "<b", 0)
    quantization = table.table(4)
    shape = table.vector(0, "i")
    if len(shape) > _MAX_RANK:
        raise ValueError(f"a tensor of {len(shape)} dimensions")
    return Tensor(
        name=table.text(3),
        shape=shape,
        shape_signature=table.vector(7, "i") or shape,
        type=_TYPES[kind] if 0 <= kind < len(_TYPES) else f"type {kind}",
        scale=quantization.vector(2, "f") if quantization else (),
        zero_point=quantization.vector(3, "q") if quantization else (),
        channel_axis=max(0, quantization.scalar(6, "<i", 0)) if quantization else 0,
        data=buffers[table.scalar(2, "<I", 0)],
    )
