"""PLY files: vertices, and faces of any number of corners or strips of triangles; all else is passed over."""

import struct
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.shapes.polygons import cut_polygons

_TYPES = {
    "char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d",
    "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "float32": "f",
    "float64": "d",
}  # fmt: skip
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_CORNERS = ("vertex_indices", "vertex_index")
_MOST_HEADER = 1_000_000  # bytes

_Rows = dict[str, Any]
"""By property: single values `[n]`, or the list of every element, as an array where they are alike."""


class _Property(NamedTuple):
    """A value of every element, or a list of them, whose length has the type `length`."""

    name: str
    type: str
    length: str = ""


class _Element(NamedTuple):
    """What the header says of one kind of elements."""

    name: str
    length: int
    properties: list[_Property]


class _Body(Protocol):
    """What follows a header, read one kind of elements after another."""

    def alike(self, element: _Element) -> _Rows | None:
        """The next elements, if there are as many, whose lists have the lengths of the first one's."""

    def numbers(self, kind: str, count: int) -> Sequence[float] | None:
        """The next numbers of a type; None if there are fewer."""


def read_ply(content: bytes, where: object) -> np.ndarray:
    """Reads the faces of a PLY file.

    Args:
      content: the file.
      where: what it is called in messages.

    Returns:
      Corners of triangles, float64 `[F, 3, 3]`; polygons are cut, see `cut_polygons`.

    Raises:
      UserError: for a cloud of points, and for fewer elements than the header says.
      ValueError: for another format, or damage.

    Reference: Turk, "The PLY Polygon File Format", 1994; `tristrips` as in Stanford's scans.
    """
    order, elements, start = _parse_header(content)
    body: _Body = _Binary(content, order, start) if order else _Text(content[start:])
    vertices: np.ndarray = np.zeros((0, 3))
    parts = list[Any]()
    for element in elements:
        rows = body.alike(element)
        if rows is None:
            rows = _one_by_one(body, element, where)
        if element.name == "vertex":
            vertices = np.stack([np.asarray(rows[axis], np.float64) for axis in "xyz"], axis=-1)
        elif element.name in ("face", "tristrips"):
            lists: Any = next((rows[name] for name in _CORNERS if name in rows), [])
            parts.append(lists if element.name == "face" else _strips(lists))
    if not any(map(len, parts)):
        raise UserError(f"{where}: is a cloud of points without faces.")
    triangles = [cut_polygons(vertices, part) for part in parts]
    corners = triangles[0] if len(triangles) == 1 else np.concatenate(triangles)
    return vertices.take(corners, axis=0)  # twice as fast as an index


def _parse_header(content: bytes) -> tuple[str, list[_Element], int]:
    """(Order of bytes, "" for text; the elements; where the header ends)."""
    mark = b"end_header"
    end = content.find(mark, 0, _MOST_HEADER)
    lines = [line.split() for line in content[: max(end, 0)].decode("latin-1").splitlines()]
    if not lines or lines[0] != ["ply"]:
        raise ValueError("not a PLY file, or without an end of its header")
    start = end + len(mark)
    start += 2 if content.startswith(b"\r\n", start) else 1
    order, elements = None, list[_Element]()
    for words in lines[1:]:
        match words:
            case ["format", name, *_]:
                order = _ORDERS[name]
            case ["element", name, length]:
                elements.append(_Element(name, int(length), []))
            case ["property", "list", count, kind, name]:
                elements[-1].properties.append(_Property(name, _TYPES[kind], _TYPES[count]))
            case ["property", kind, name]:
                elements[-1].properties.append(_Property(name, _TYPES[kind]))
    if order is None or any(element.length < 0 for element in elements):
        raise ValueError("a header without its format, or with a number below 0")
    return order, elements, start


def _one_by_one(body: _Body, element: _Element, where: object) -> _Rows:
    """Elements with lists of several lengths."""
    rows: _Rows = {p.name: [] for p in element.properties}
    for number in range(element.length):
        for p in element.properties:
            size = body.numbers(p.length, 1) if p.length else None
            count = 1 if not p.length else -1 if size is None else int(size[0])
            values = body.numbers(p.type, count) if count >= 0 else None
            if values is None:
                raise UserError(
                    f"{where}: is cut off, got {number} of {element.length} elements {element.name!r}."
                )
            rows[p.name].append(values if p.length else values[0])
    return rows


def _strips(lists: Any) -> list[list[int]]:
    """The triangles of strips; −1 ends one, and every other triangle is turned over."""
    triangles: list[list[int]] = []
    for corners in lists:
        corners, start = [int(corner) for corner in corners], 0
        for i, corner in enumerate(corners):
            if corner < 0:
                start = i + 1
            elif i - start >= 2:
                a, b = (i - 2, i - 1) if (i - start) % 2 == 0 else (i - 1, i - 2)
                triangles.append([corners[a], corners[b], corner])
    return triangles


class _Binary:
    """See `_Body`."""

    def __init__(self, content: bytes, order: str, start: int):
        self._content, self._order, self._place = content, order, start

    def numbers(self, kind: str, count: int) -> Sequence[float] | None:
        size = count * struct.calcsize(self._order + kind)
        if self._place + size > len(self._content):
            return None
        values = struct.unpack_from(f"{self._order}{count}{kind}", self._content, self._place)
        self._place += size
        return values

    def alike(self, element: _Element) -> _Rows | None:
        start = place = self._place
        fields: list[Any] = []
        for number, p in enumerate(element.properties):
            shape: tuple[int, ...] = ()
            if p.length:
                self._place, fields = place, [*fields, (f"n{number}", self._order + p.length)]
                size = self.numbers(p.length, 1)
                if size is None or size[0] < 0:
                    self._place = start
                    return None
                place, shape = self._place, (int(size[0]),)
            fields.append((f"v{number}", self._order + p.type, shape))
            place += struct.calcsize(self._order + p.type) * (shape[0] if shape else 1)
        self._place = start
        # In Python's integers: a damaged length must not ask for memory.
        if start + (place - start) * element.length > len(self._content):
            return None
        rows = np.frombuffer(self._content, np.dtype(fields), element.length, start)
        if not _agree(rows[f"n{i}"] for i, p in enumerate(element.properties) if p.length):
            return None
        self._place += rows.nbytes
        return {p.name: rows[f"v{i}"] for i, p in enumerate(element.properties)}


class _Text:
    """See `_Body`."""

    def __init__(self, content: bytes):
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # where a word is no number
            self._values = np.fromstring(content.decode("latin-1"), sep=" ")
        self._place = 0

    def numbers(self, kind: str, count: int) -> Sequence[float] | None:
        values = self._values[self._place : self._place + count]
        self._place += count
        return values.tolist() if len(values) == count else None

    def alike(self, element: _Element) -> _Rows | None:
        columns, place = [], 0
        for p in element.properties:
            size = 1
            if p.length:
                first = self._values[self._place + place : self._place + place + 1]
                if not (first >= 0).all() or not first.size:
                    return None
                size, place = int(first[0]), place + 1
            columns.append((place, size))
            place += size
        if self._place + place * element.length > len(self._values):
            return None
        rows = self._values[self._place :][: place * element.length].reshape(element.length, place)
        starts = [
            start for (start, _), p in zip(columns, element.properties, strict=True) if p.length
        ]
        if not _agree(rows[:, start - 1] for start in starts):
            return None
        self._place += rows.size
        return {
            p.name: rows[:, start : start + size] if p.length else rows[:, start]
            for (start, size), p in zip(columns, element.properties, strict=True)
        }


def _agree(columns: Any) -> bool:
    """Whether every column has one value."""
    return all(not column.size or (column == column[0]).all() for column in columns)
