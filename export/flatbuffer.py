"""Read the facts of a .tflite file without an inference runtime, and check that it is full-integer.

The file is a FlatBuffer (flatbuffers.dev/internals) of the schema in TensorFlow Lite's `schema.fbs`.
Every offset and length is checked against the file, so a damaged file is an error and never a crash.
"""
# Boards have Python 3.6, and `edgeseg inspect` works there: old syntax.
# ruff: noqa: B904, UP006, UP035, UP045

import struct
from typing import Any, List, NamedTuple, Optional, Tuple

from edgeseg.errors import BundleError

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
_FLOAT_TYPES = ("float32", "float16", "float64", "bfloat16", "complex64", "complex128")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")  # input 1 is the kernel in each


class Tensor(NamedTuple):
    """A tensor; `scale` and `zero_point` have one entry, one per channel, or none if not quantised."""

    name: str
    shape: Tuple[int, ...]
    shape_signature: Tuple[int, ...]  # -1 where the size is dynamic
    type: str
    scale: Tuple[float, ...]
    zero_point: Tuple[int, ...]
    channel_axis: int

    @property
    def per_channel(self) -> bool:
        return (
            bool(self.scale)
            and self.channel_axis < len(self.shape)
            and len(self.scale) == self.shape[self.channel_axis]
        )


class Operator(NamedTuple):
    """An operator; `inputs` and `outputs` are indices of tensors, -1 for an optional input left out."""

    name: str
    version: int
    inputs: Tuple[int, ...]
    outputs: Tuple[int, ...]


class TfliteModel(NamedTuple):
    """The first subgraph of a .tflite file, and how many there are."""

    subgraphs: int
    operators: Tuple[Operator, ...]
    tensors: Tuple[Tensor, ...]
    inputs: Tuple[int, ...]
    outputs: Tuple[int, ...]
    bytes: int

    def operator_counts(self) -> List[Tuple[str, int, int]]:
        """(name, version, how many), in the order of first use."""
        counts = {}  # type: Any
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


def check_full_integer(model: TfliteModel) -> List[str]:
    """What keeps `model` from being a static full-integer network, uint8 in and int8 out; [] if nothing."""
    problems = check_static(model)
    floats = [t.name for t in model.tensors if t.type in _FLOAT_TYPES]
    if floats:
        problems.append(f"{len(floats)} float tensor(s), first {floats[0]}")
    problems += _border_problems(model, "input", model.inputs, "uint8")
    problems += _border_problems(model, "output", model.outputs, "int8")
    inner = [o.name for o in model.operators if o.name in ("QUANTIZE", "DEQUANTIZE") and not _at_border(model, o)]
    problems += [f"{name} in the middle of the graph" for name in sorted(set(inner))]
    kernels = [model.tensors[o.inputs[1]] for o in model.operators if o.name in _CONVOLUTIONS]
    for fault, wrong in (
        ("not int8", [k for k in kernels if k.type != "int8"]),
        ("with one scale instead of one per channel", [k for k in kernels if k.type == "int8" and not k.per_channel]),
    ):
        if wrong:
            problems.append(f"{len(wrong)} kernel(s) {fault}, first {wrong[0].name}")
    return problems


def check_static(model: TfliteModel) -> List[str]:
    """What keeps `model` from having one subgraph of builtin operators on static shapes; [] if nothing."""
    problems = []
    if model.subgraphs != 1:
        problems.append(f"{model.subgraphs} subgraphs instead of 1")
    dynamic = [t for t in model.tensors if -1 in t.shape_signature or min(t.shape or (1,)) < 1]
    if dynamic:
        problems.append(f"{len(dynamic)} tensor(s) of dynamic shape, first {dynamic[0].name}")
    custom = sorted({o.name for o in model.operators if o.name.startswith("CUSTOM")})
    if custom:
        problems.append("operators that are not builtin: {}".format(", ".join(custom)))
    return problems


def _border_problems(model: TfliteModel, side: str, indices: Tuple[int, ...], wanted: str) -> List[str]:
    found = [model.tensors[i].type for i in indices]
    if found == [wanted]:
        return []
    return ["the {} is {}, not one {} tensor".format(side, " and ".join(found) or "missing", wanted)]


def _at_border(model: TfliteModel, operator: Operator) -> bool:
    return set(operator.inputs) <= set(model.inputs) or set(operator.outputs) <= set(model.outputs)


# Field numbers below are the order of fields in schema.fbs.


def _model(data: bytes) -> TfliteModel:
    root = _Table(data, _u32(data, 0))
    codes = [_operator_code(table) for table in root.tables(1)]
    subgraphs = root.tables(2)
    if not subgraphs:
        raise ValueError("no subgraph")
    graph = subgraphs[0]
    tensors = tuple(_tensor(table) for table in graph.tables(0))
    operators = []
    for table in graph.tables(3):
        name, version = codes[table.scalar(0, "<I", 0)]
        operators.append(Operator(name, version, table.vector(1, "i"), table.vector(2, "i")))
    model = TfliteModel(
        len(subgraphs), tuple(operators), tensors, graph.vector(1, "i"), graph.vector(2, "i"), len(data)
    )
    _check_indices(model)
    return model


def _check_indices(model: TfliteModel) -> None:
    groups = [model.inputs, model.outputs] + [o.inputs + o.outputs for o in model.operators]
    for index in (index for group in groups for index in group):
        if not -1 <= index < len(model.tensors):
            raise ValueError(f"tensor index {index} of {len(model.tensors)}")
    for operator in model.operators:
        if operator.name in _CONVOLUTIONS and (len(operator.inputs) < 2 or operator.inputs[1] < 0):
            raise ValueError(f"{operator.name} without a kernel")
    if -1 in model.inputs + model.outputs:
        raise ValueError("an input or output without a tensor")


def _operator_code(table: "_Table") -> Tuple[str, int]:
    # Codes above 126 do not fit the old one-byte field, which then holds 127.
    code = max(table.scalar(0, "<b", 0), table.scalar(3, "<i", 0))
    name = _OPERATORS[code] if 0 <= code < len(_OPERATORS) else f"BUILTIN_{code}"
    if name == "CUSTOM":
        name = f"CUSTOM {table.text(1)}"
    return name, table.scalar(2, "<i", 1)


def _tensor(table: "_Table") -> Tensor:
    kind = table.scalar(1, "<b", 0)
    quantization = table.table(4)
    shape = table.vector(0, "i")
    return Tensor(
        name=table.text(3),
        shape=shape,
        shape_signature=table.vector(7, "i") or shape,
        type=_TYPES[kind] if 0 <= kind < len(_TYPES) else f"type {kind}",
        scale=quantization.vector(2, "f") if quantization else (),
        zero_point=quantization.vector(3, "q") if quantization else (),
        channel_axis=max(0, quantization.scalar(6, "<i", 0)) if quantization else 0,
    )


def _u32(data: bytes, position: int) -> int:
    return struct.unpack_from("<I", data, position)[0]


class _Table:
    """A FlatBuffer table at `position`: its fields are found through the vtable that it points back to."""

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - struct.unpack_from("<i", data, position)[0]
        if not 0 <= self._vtable < len(data):
            raise ValueError(f"vtable at {self._vtable}")
        self._fields = max(0, (struct.unpack_from("<H", data, self._vtable)[0] - 4) // 2)

    def _field(self, number: int) -> Optional[int]:
        """Position of a field, None where it has its default."""
        if number >= self._fields:
            return None
        offset = struct.unpack_from("<H", self._data, self._vtable + 4 + 2 * number)[0]
        return self._position + offset if offset else None

    def _target(self, number: int) -> Optional[int]:
        field = self._field(number)
        return None if field is None else field + _u32(self._data, field)

    def scalar(self, number: int, form: str, default: int) -> int:
        field = self._field(number)
        return default if field is None else struct.unpack_from(form, self._data, field)[0]

    def vector(self, number: int, form: str) -> Tuple[Any, ...]:
        start = self._target(number)
        if start is None:
            return ()
        length = _u32(self._data, start)
        if length * struct.calcsize("<" + form) > len(self._data):
            raise ValueError(f"a vector of {length} entries")
        return struct.unpack_from(f"<{length}{form}", self._data, start + 4)

    def text(self, number: int) -> str:
        start = self._target(number)
        if start is None:
            return ""
        return self._data[start + 4 : start + 4 + _u32(self._data, start)].decode("utf-8", "replace")

    def table(self, number: int) -> Optional["_Table"]:
        start = self._target(number)
        return None if start is None else _Table(self._data, start)

    def tables(self, number: int) -> List["_Table"]:
        start = self._target(number)
        if start is None:
            return []
        offsets = self.vector(number, "I")
        return [_Table(self._data, start + 4 + 4 * i + offset) for i, offset in enumerate(offsets)]
