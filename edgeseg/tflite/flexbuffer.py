"""Read a FlexBuffer map of numbers, strings and vectors of them (flatbuffers.dev/flexbuffers, flexbuffers.h).

Only what the custom operator of the Edge TPU holds is read: no nesting, no floats. Every offset and length is checked
against the data, so damaged data raises ValueError and never reads beyond it.
"""

from typing import Dict, List, NamedTuple, Union

Value = Union[None, int, bytes, List[Union[int, bytes]]]

_NULL, _INT, _UINT, _KEY, _STRING, _MAP, _VECTOR, _VECTOR_INT, _VECTOR_UINT, _BLOB = 0, 1, 2, 4, 5, 9, 10, 11, 12, 25
_WIDTHS = (1, 2, 4, 8)


class _Slot(NamedTuple):
    """`width` bytes at `position`: a number, or how far back the value is; `packed` is its type."""

    position: int
    width: int
    packed: int

    @property
    def kind(self) -> int:
        return self.packed >> 2

    @property
    def inner_width(self) -> int:
        return _WIDTHS[self.packed & 3]


def read_map(data: bytes) -> Dict[str, Value]:
    """The map that `data` holds. Raises ValueError for damaged data and for what this reader does not know."""
    if len(data) < 3:
        raise ValueError("a FlexBuffer of {} bytes".format(len(data)))
    return _Reader(data).root_map()


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(data)  # strings and vectors do not overlap, so together they are no longer than the data

    def root_map(self) -> Dict[str, Value]:
        packed, width = self._data[-2], self._data[-1]
        if width not in _WIDTHS:
            raise ValueError("a FlexBuffer root of {} bytes".format(width))
        root = _Slot(len(self._data) - 2 - width, width, packed)
        if root.kind != _MAP:
            raise ValueError("a FlexBuffer of type {}, not a map".format(root.kind))
        start, inner = self._target(root), root.inner_width
        keys_at, keys_width = start - 3 * inner, self._number(start - 2 * inner, inner)
        if keys_width not in _WIDTHS:
            raise ValueError("FlexBuffer keys of {} bytes".format(keys_width))
        keys = self._vector(self._target(_Slot(keys_at, inner, 0)), keys_width, _KEY)
        values = self._vector(start, inner, None)
        if len(keys) != len(values):
            raise ValueError("a FlexBuffer map of {} keys and {} values".format(len(keys), len(values)))
        return {self._key(key): self._value(value) for key, value in zip(keys, values)}

    def _value(self, slot: _Slot) -> Value:
        if slot.kind == _VECTOR:
            return [self._item(item) for item in self._vector(self._target(slot), slot.inner_width, None)]
        if slot.kind in (_VECTOR_INT, _VECTOR_UINT):
            item = slot.kind - _VECTOR_INT + _INT
            return [self._item(entry) for entry in self._vector(self._target(slot), slot.inner_width, item)]
        return None if slot.kind == _NULL else self._item(slot)

    def _item(self, slot: _Slot) -> Union[int, bytes]:
        if slot.kind in (_INT, _UINT):
            return self._number(slot.position, slot.width, signed=slot.kind == _INT)
        if slot.kind not in (_STRING, _BLOB):
            raise ValueError("a FlexBuffer value of type {}".format(slot.kind))
        start = self._target(slot)
        return self._bytes(start, self._number(start - slot.inner_width, slot.inner_width))

    def _vector(self, start: int, width: int, kind: Union[int, None]) -> List[_Slot]:
        """The entries of a vector; their types follow it unless all are of one `kind`."""
        length = self._number(start - width, width)
        types_at = start + length * width
        if types_at + (length if kind is None else 0) > len(self._data):
            raise ValueError("a FlexBuffer vector of {} entries".format(length))
        self._charge(length)
        return [
            _Slot(start + i * width, width, self._data[types_at + i] if kind is None else kind << 2)
            for i in range(length)
        ]

    def _key(self, slot: _Slot) -> str:
        start = self._target(slot)
        end = self._data.find(b"\0", start)
        if end < 0:
            raise ValueError("a FlexBuffer key without an end")
        return self._bytes(start, end - start).decode("utf-8", "replace")

    def _target(self, slot: _Slot) -> int:
        return slot.position - self._number(slot.position, slot.width)

    def _number(self, position: int, width: int, signed: bool = False) -> int:
        return int.from_bytes(self._span(position, width), "little", signed=signed)

    def _bytes(self, start: int, length: int) -> bytes:
        self._charge(length)
        return self._span(start, length)

    def _charge(self, length: int) -> None:
        self._left -= length
        if self._left < 0:
            raise ValueError("FlexBuffer values overlap")

    def _span(self, start: int, length: int) -> bytes:
        if not 0 <= start <= start + length <= len(self._data):
            raise ValueError("FlexBuffer bytes from {} to {} of {}".format(start, start + length, len(self._data)))
        return self._data[start : start + length]
