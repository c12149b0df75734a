"""TFRecord files of `tf.train.Example` messages, read without TensorFlow, a record at a time."""

import functools
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from nvc_jax.core.errors import UserError
from nvc_jax.data.base.files import existing, told

Values = list[bytes] | np.ndarray
"""What a feature holds: byte strings, float32 `[n]` or int64 `[n]`."""

_HEADER = struct.Struct("<QI")  # length of the content, its checksum
_FOOTER = struct.Struct("<I")  # checksum of the content


def record_offsets(path: Path) -> list[int]:
    """Finds where the records of a file begin, without reading them.

    A record is its length (uint64), the checksum of the length (uint32), the content, and the
    checksum of the content (uint32), little-endian.

    Args:
      path: the file.

    Returns:
      The place of every record, in bytes from the beginning, for `read_record`.

    Raises:
      UserError: for a missing file, a damaged length, a last record that is cut short, or no record.

    Reference: TensorFlow's documentation, "TFRecord and tf.train.Example".
    """
    offsets: list[int] = []
    path = existing(path)
    size, place = path.stat().st_size, 0
    with path.open("rb", buffering=0) as file:
        while place < size:
            offsets.append(place)
            file.seek(place)
            length = _content_length(file.read(_HEADER.size))
            place += _HEADER.size + (length or 0) + _FOOTER.size
            if length is None or place > size:
                raise _broken(path, len(offsets) - 1)
    if not offsets:
        raise UserError(f"{path} is empty: expected a TFRecord file, fetch it again.")
    return offsets


def read_record(path: Path, number: int, offset: int) -> bytes:
    """Reads one record and checks it.

    Args:
      path: the file.
      number: of the record, from 0, for messages.
      offset: its place, as `record_offsets` found it.

    Returns:
      The content.

    Raises:
      UserError: for a missing file, or a record that does not fit its checksum.
    """
    with existing(path).open("rb") as file:
        file.seek(offset)
        length = _content_length(file.read(_HEADER.size))
        # A damaged length must not ask for memory.
        if length is None or offset + length > path.stat().st_size:
            raise _broken(path, number)
        content, footer = file.read(length), file.read(_FOOTER.size)
    if footer != _FOOTER.pack(_masked(crc32c(content))):
        raise _broken(path, number)
    return content


def _content_length(header: bytes) -> int | None:
    """The length that a record's header tells; None where the header is damaged or cut short."""
    if len(header) < _HEADER.size:
        return None
    length, checksum = _HEADER.unpack(header)
    return length if _masked(crc32c(header[:8])) == checksum else None


def _broken(path: Path, number: int) -> UserError:
    """The error for a record that cannot be read."""
    return UserError(
        f"{path}: record {number} (from 0) is damaged or cut short, or this is no TFRecord file; fetch "
        "it again."
    )


def _masked(checksum: int) -> int:
    """The form in which checksums are stored, as those of data that hold checksums are weak."""
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(content: bytes) -> int:
    """The cyclic redundancy check with Castagnoli's polynomial.

    The remainder is linear: that of two blocks is the first one's, moved by the length of the
    second, plus the second one's. So neighbors are joined, in all pairs at once, until one is left.

    Args:
      content: the bytes.

    Returns:
      32 bits.

    Reference: RFC 3720, appendix B.4; test values there.
    """
    # Four bytes that bring the remainder from 0 to 0xFFFFFFFF, where the check begins.
    start = b"\x54\x64\x1f\x64"
    padding = bytes(-len(content) % 4)  # zeros before them change nothing
    words = np.frombuffer(padding + start + content, "<u4")
    level = 0
    while len(words) > 1:
        if len(words) % 2:
            words = np.concatenate([np.zeros(1, words.dtype), words])
        words = _moved(words[0::2], level) ^ words[1::2]
        level += 1
    return int(_moved(words, 0)[0]) ^ 0xFFFFFFFF


def _moved(remainders: np.ndarray, level: int) -> np.ndarray:
    """Remainders after 4·2^level more bytes of 0."""
    low, high = _table(level)
    return low[remainders & 0xFFFF] ^ high[remainders >> 16]


@functools.cache
def _table(level: int) -> np.ndarray:
    """`_moved` of all values of the lower, and of the upper 16 bits, uint32 `[2, 65536]`."""
    if level:
        return _moved(_table(level - 1), level - 1)
    values = np.arange(65536, dtype=np.uint32)
    table = np.stack([values, values << 16])
    for _ in range(32):
        table = (table >> 1) ^ (table & 1) * np.uint32(0x82F63B78)
    return table


def parse_example(content: bytes, names: Sequence[str], where: str) -> dict[str, Values]:
    """Reads features of a `tf.train.Example`.

    Args:
      content: the message in protocol buffers' wire format; lists of numbers may be packed or not.
      names: the features that are needed; others are skipped unread.
      where: what the message is called in error messages.

    Returns:
      Their values by name.

    Raises:
      UserError: for a missing feature, or bytes that are no such message.

    Reference: TensorFlow's `example.proto` and `feature.proto`; protobuf.dev, "Encoding".
    """
    with told(
        f"{where} is no tf.train.Example message: it is damaged or of another kind; fetch it again."
    ):
        features = dict(_features(memoryview(content)))
        values = {name: _values(features[name]) for name in names if name in features}
    for name in names:
        if name not in values:
            raise UserError(
                f"{where} has no feature {name!r}, got {', '.join(sorted(features)) or 'none'}: it "
                "belongs to another data set."
            )
    return values


_VARINT, _BYTES = 0, 2  # kinds of fields on the wire
_SIZES = {1: 8, 5: 4}  # of those with a fixed number of bytes


def _features(example: memoryview) -> Iterator[tuple[str, memoryview]]:
    """(name, message Feature) of an Example, which holds a map: entries of a key and a value."""
    for features in _messages(example, 1):
        for entry in _messages(features, 1):
            names, values = list(_messages(entry, 1)), list(_messages(entry, 2))
            # What is not there has its default; of what is there twice the last one counts.
            yield bytes([b"", *names][-1]).decode(), [entry[:0], *values][-1]


def _values(feature: memoryview) -> Values:
    """The values of a message Feature: a list of byte strings (1), floats (2) or integers (3)."""
    for values in _messages(feature, 1):
        return [bytes(value) for value in _messages(values, 1)]
    for values in _messages(feature, 2):
        return np.frombuffer(b"".join(_messages(values, 1)), "<f4").astype(np.float32)
    for values in _messages(feature, 3):
        return np.array(list(_integers(values)), np.uint64).astype(np.int64)
    return []


def _messages(message: memoryview, number: int) -> Iterator[memoryview]:
    """The contents of the fields of one number that are bytes: strings, messages, floats."""
    for field, content in _fields(message):
        if field == number and isinstance(content, memoryview):
            yield content


def _integers(values: memoryview) -> Iterator[int]:
    """A list of integers, one a field or many."""
    for _, content in _fields(values):
        if isinstance(content, int):
            yield content
            continue
        place = 0
        while place < len(content):
            value, place = _varint(content, place)
            yield value


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, content) of all fields of a message; ValueError where it is damaged."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind = key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, place = _varint(message, place)
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise ValueError(f"there is no kind {kind} of fields")
        if place + size > len(message):
            raise ValueError("a field is cut short")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """The integer at a place, seven bits a byte, and the place after it."""
    value = 0
    for i, byte in enumerate(message[place : place + 10]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, place + i + 1
    raise ValueError("an integer is cut short")
