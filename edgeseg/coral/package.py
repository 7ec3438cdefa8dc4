"""What the Edge TPU compiler put into a `_edgetpu.tflite` file: its custom operators and the packages in them.

A custom operator holds a FlexBuffer map (google-coral/libedgetpu, tflite/custom_op_data.cc); its entry "4" is a
package, a FlatBuffer of the schema executable/executable.fbs in the same repository. Nothing is executed, every offset
is checked: a damaged file is a BundleError, never a crash.
"""

import struct
from typing import List, NamedTuple, Tuple

from edgeseg.errors import BundleError
from edgeseg.tflite.flatbuffer import Table, root_table
from edgeseg.tflite.flexbuffer import read_map
from edgeseg.tflite.model import Operator, TfliteModel

CUSTOM_OP = "CUSTOM edgetpu-custom-op"

# custom_op_data.cc: keys of the map
_PACKAGE, _MORE_PACKAGES = "4", "7"
# executable.fbs, enum ExecutableType
STAND_ALONE, PARAMETER_CACHING, EXECUTION_ONLY = "stand-alone", "parameter-caching", "execution-only"
_TYPES = (STAND_ALONE, PARAMETER_CACHING, EXECUTION_ONLY)
# executable.fbs, enum DataType; int8 with a zero point is uint8 here, libedgetpu flips the sign bit on the way
_DATA_TYPES = {
    0: "fixed-point 8",
    1: "fixed-point 16",
    2: "signed fixed-point 32",
    3: "bfloat",
    4: "half",
    5: "single",
    8: "signed fixed-point 8",
    9: "signed fixed-point 16",
}
_MULTI_CHIP = -1  # of Package.virtual_chip_id
_FIX = "compile the uncompiled .tflite again: edgetpu_compiler FILE.tflite"


class Layer(NamedTuple):
    """An input or output of a package."""

    name: str
    shape: Tuple[int, int, int]  # y, x, z
    data_type: str
    size_bytes: int  # with padding


class Executable(NamedTuple):
    """A program for the Edge TPU. Bytes are of batch size 1."""

    type: str  # stand-alone | parameter-caching | execution-only
    parameter_bytes: int
    instruction_bytes: int
    scratch_bytes: int
    narrow_bytes_per_tile: int
    caching_token: int
    inputs: Tuple[Layer, ...]
    outputs: Tuple[Layer, ...]


class Package(NamedTuple):
    """One subgraph for the Edge TPU: the content of one custom operator."""

    min_runtime: int  # the oldest runtime that takes it; libedgetpu of compiler 16.0 is 14
    compiler: str
    model_identifier: str
    executables: Tuple[Executable, ...]

    @property
    def main(self) -> Executable:
        """The executable that runs at each inference (libedgetpu, driver/package_registry.cc)."""
        by_type = {executable.type: executable for executable in self.executables}
        return by_type.get(STAND_ALONE) or by_type.get(EXECUTION_ONLY) or self.executables[0]  # alone, it is the one

    @property
    def cached_bytes(self) -> int:
        """Parameters that stay in the memory of the Edge TPU."""
        if self.main.type != EXECUTION_ONLY:
            return 0
        return sum(e.parameter_bytes for e in self.executables if e.type == PARAMETER_CACHING)

    @property
    def streamed_bytes(self) -> int:
        """Parameters that travel to the Edge TPU at each inference."""
        return self.main.parameter_bytes

    @property
    def instruction_bytes(self) -> int:
        """Of an inference; instructions travel to the Edge TPU each time."""
        return self.main.instruction_bytes

    @property
    def scratch_bytes(self) -> int:
        return self.main.scratch_bytes

    @property
    def narrow_bytes_per_tile(self) -> int:
        return self.main.narrow_bytes_per_tile

    @property
    def caching_token(self) -> int:
        """Packages of one token share the parameter memory: they were compiled together. 0: nothing is cached."""
        return self.main.caching_token

    @property
    def inputs(self) -> Tuple[Layer, ...]:
        return self.main.inputs

    @property
    def outputs(self) -> Tuple[Layer, ...]:
        return self.main.outputs


class Split(NamedTuple):
    """The operators of a compiled file, in order."""

    tpu: Tuple[int, ...]  # indices of the custom operators, each one subgraph of unknown size
    cpu: Tuple[Operator, ...]


def is_compiled(model: TfliteModel) -> bool:
    """Whether the Edge TPU compiler mapped at least one operator of `model`."""
    return any(operator.name == CUSTOM_OP for operator in model.operators)


def split(model: TfliteModel) -> Split:
    """Which operators of a compiled file run on the Edge TPU, and which are left on the CPU."""
    return Split(
        tuple(i for i, operator in enumerate(model.operators) if operator.name == CUSTOM_OP),
        tuple(operator for operator in model.operators if operator.name != CUSTOM_OP),
    )


def read_packages(model: TfliteModel) -> Tuple[Package, ...]:
    """The package of each Edge TPU operator of `model`, in order; () if it has none.

    Raises BundleError if one is damaged, of another format, or made for several chips.
    """
    return tuple(_read_package(model.operators[index]) for index in split(model).tpu)


def _read_package(operator: Operator) -> Package:
    try:
        return _package(_package_bytes(operator.custom_options))
    except (struct.error, IndexError, ValueError) as error:
        raise BundleError("the Edge TPU operator of the file is damaged: {}".format(error), _FIX)


def _package_bytes(options: bytes) -> bytes:
    content = read_map(options)
    if content.get(_MORE_PACKAGES):
        raise BundleError("the Edge TPU operator holds packages for several chips", _FIX)
    package = content.get(_PACKAGE)
    if not isinstance(package, bytes):
        raise ValueError("it holds no package")
    return package


def _package(data: bytes) -> Package:
    if data[4:8] != b"DWN1":
        mark = data[4:8].decode("ascii", "replace")
        raise BundleError("the Edge TPU operator holds a package of format {!r}, not DWN1".format(mark), _FIX)
    root = root_table(data)
    if root.scalar(5, "<i", 0) == _MULTI_CHIP or root.tables(6):
        raise BundleError("the Edge TPU operator holds a package for several chips", _FIX)
    bundled = root.bytes(1)
    if not bundled:
        raise ValueError("its package is empty")
    executables = tuple(_executable(one) for one in root_table(bundled).byte_strings(0))
    _check_types([executable.type for executable in executables])
    return Package(root.scalar(0, "<i", 0), root.text(4).strip(), root.text(7), executables)


def _check_types(types: List[str]) -> None:
    """The combinations that libedgetpu takes (driver/package_registry.cc, ExtractExecutables)."""
    if len(set(types)) != len(types):
        raise ValueError("it holds several executables of one type")
    if not types or (len(types) == 2 and STAND_ALONE in types):
        raise ValueError("it holds these executables: {}".format(", ".join(types) or "none"))


def _executable(data: bytes) -> Executable:
    table = root_table(data)
    kind = table.scalar(13, "<h", 0)
    if not 0 <= kind < len(_TYPES):
        raise ValueError("an executable of type {}".format(kind))
    return Executable(
        type=_TYPES[kind],
        parameter_bytes=len(table.bytes(6)),
        instruction_bytes=sum(len(stream.bytes(0)) for stream in table.tables(5)),
        scratch_bytes=table.scalar(4, "<i", 0),
        narrow_bytes_per_tile=table.scalar(12, "<i", 0),
        caching_token=table.scalar(14, "<Q", 0),
        inputs=tuple(_layer(layer) for layer in table.tables(8)),
        outputs=tuple(_layer(layer) for layer in table.tables(9)),
    )


def _layer(table: Table) -> Layer:
    kind = table.scalar(6, "<h", 0)
    return Layer(
        name=table.text(0),
        shape=(table.scalar(2, "<i", 0), table.scalar(3, "<i", 0), table.scalar(4, "<i", 0)),
        data_type=_DATA_TYPES.get(kind, "type {}".format(kind)),
        size_bytes=table.scalar(1, "<i", 0),
    )
