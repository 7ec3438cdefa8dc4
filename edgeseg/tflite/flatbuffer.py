"""Read a FlatBuffer without its schema compiler (flatbuffers.dev/internals)."""

import struct
from typing import Any, List, Optional, Tuple

Bytes = bytes  # a table has a method of that name


def root_table(data: bytes) -> "Table":
    """The table that a buffer begins with. Raises struct.error for a buffer without one."""
    return Table(_Buffer(data), struct.unpack_from("<I", data, 0)[0])


class _Buffer:
    """The bytes of a FlatBuffer, and how many of them may still be read as vectors.

    Vectors may be shared, but nobody shares much. Without a limit a small file whose tables all point to one large
    vector would fill the memory.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.left = 2 * len(data)

    def charge(self, length: int) -> None:
        self.left -= length
        if self.left < 0:
            raise ValueError("vectors overlap")

    def vector_at(self, start: int) -> bytes:
        """The bytes of a vector of bytes, or of a string."""
        end = start + 4 + struct.unpack_from("<I", self.data, start)[0]
        if end > len(self.data):
            raise ValueError(f"bytes from {start} to {end} of {len(self.data)}")
        self.charge(end - start)
        return self.data[start + 4 : end]


class Table:
    """A table at `position`: its fields are found through the vtable that it points back to.

    Fields are known by their number, the order in which the schema names them. A field that does not lie within
    the data raises ValueError, IndexError or struct.error.
    """

    def __init__(self, buffer: _Buffer, position: int) -> None:
        self._buffer = buffer
        self._data = buffer.data
        self._position = position
        self._vtable = position - struct.unpack_from("<i", self._data, position)[0]
        if not 0 <= self._vtable < len(self._data):
            raise ValueError(f"vtable at {self._vtable}")
        self._fields = max(0, (struct.unpack_from("<H", self._data, self._vtable)[0] - 4) // 2)

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

    def start(self, number: int) -> Optional[int]:
        """Where a vector, string or table begins; None where the field is absent."""
        return self._target(number)

    def scalar(self, number: int, form: str, default: int) -> int:
        field = self._field(number)
        return default if field is None else struct.unpack_from(form, self._data, field)[0]

    def vector(self, number: int, form: str) -> Tuple[Any, ...]:
        start = self._target(number)
        if start is None:
            return ()
        length = self._u32(start)
        size = length * struct.calcsize("<" + form)
        if size > len(self._data):
            raise ValueError(f"a vector of {length} entries")
        self._buffer.charge(size)
        return struct.unpack_from(f"<{length}{form}", self._data, start + 4)

    def byte_strings(self, number: int) -> List[Bytes]:
        """A vector of strings, as bytes."""
        return [self._buffer.vector_at(position) for position in self._positions(number)]

    def bytes(self, number: int) -> Bytes:
        """A vector of bytes, or the bytes of a string."""
        start = self._target(number)
        return b"" if start is None else self._buffer.vector_at(start)

    def text(self, number: int) -> str:
        return self.bytes(number).decode("utf-8", "replace")

    def table(self, number: int) -> Optional["Table"]:
        start = self._target(number)
        return None if start is None else Table(self._buffer, start)

    def tables(self, number: int) -> List["Table"]:
        return [Table(self._buffer, position) for position in self._positions(number)]

    def _positions(self, number: int) -> List[int]:
        """Where the entries of a vector of tables or strings begin."""
        start = self._target(number)
        if start is None:
            return []
        return [start + 4 + 4 * i + offset for i, offset in enumerate(self.vector(number, "I"))]

    def _u32(self, position: int) -> int:
        return struct.unpack_from("<I", self._data, position)[0]
