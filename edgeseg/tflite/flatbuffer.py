"""Read a FlatBuffer without its schema compiler (flatbuffers.dev/internals)."""

import struct
from typing import Any, List, Optional, Tuple


def root_table(data: bytes) -> "Table":
    """The table that a buffer begins with. Raises struct.error for a buffer without one."""
    return Table(data, struct.unpack_from("<I", data, 0)[0])


class Table:
    """A table at `position`: its fields are found through the vtable that it points back to.

    Fields are known by their number, the order in which the schema names them. A field that does not lie within
    the data raises ValueError, IndexError or struct.error.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._data = data
        self._position = position
        self._vtable = position - struct.unpack_from("<i", data, position)[0]
        if not 0 <= self._vtable < len(data):
            raise ValueError(f"vtable at {self._vtable}")
        self._fields = max(0, (struct.unpack_from("<H", data, self._vtable)[0] - 4) // 2)

    @property
    def size(self) -> int:
        """Bytes of the whole buffer."""
        return len(self._data)

    def _field(self, number: int) -> Optional[int]:
        """Position of a field, None where it has its default."""
        if number >= self._fields:
            return None
        offset = struct.unpack_from("<H", self._data, self._vtable + 4 + 2 * number)[0]
        return self._position + offset if offset else None

    def _target(self, number: int) -> Optional[int]:
        field = self._field(number)
        return None if field is None else field + self._u32(field)

    def scalar(self, number: int, form: str, default: int) -> int:
        field = self._field(number)
        return default if field is None else struct.unpack_from(form, self._data, field)[0]

    def vector(self, number: int, form: str) -> Tuple[Any, ...]:
        start = self._target(number)
        if start is None:
            return ()
        length = self._u32(start)
        if length * struct.calcsize("<" + form) > len(self._data):
            raise ValueError(f"a vector of {length} entries")
        return struct.unpack_from(f"<{length}{form}", self._data, start + 4)

    def bytes(self, number: int) -> bytes:
        """A vector of bytes, or the bytes of a string."""
        start = self._target(number)
        if start is None:
            return b""
        end = start + 4 + self._u32(start)
        if end > len(self._data):
            raise ValueError(f"bytes from {start} to {end} of {len(self._data)}")
        return self._data[start + 4 : end]

    def text(self, number: int) -> str:
        return self.bytes(number).decode("utf-8", "replace")

    def table(self, number: int) -> Optional["Table"]:
        start = self._target(number)
        return None if start is None else Table(self._data, start)

    def tables(self, number: int) -> List["Table"]:
        start = self._target(number)
        if start is None:
            return []
        offsets = self.vector(number, "I")
        return [Table(self._data, start + 4 + 4 * i + offset) for i, offset in enumerate(offsets)]

    def _u32(self, position: int) -> int:
        return struct.unpack_from("<I", self._data, position)[0]
