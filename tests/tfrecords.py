"""TFRecord files of `tf.train.Example` messages, written byte by byte; data sets of TFDS."""

import io
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image


def crc32c(content: bytes) -> int:
    """Castagnoli's check, bit by bit but for a table of what a byte does."""
    remainder = 0xFFFFFFFF
    for byte in content:
        remainder = _TABLE[(remainder ^ byte) & 0xFF] ^ remainder >> 8
    return remainder ^ 0xFFFFFFFF


def _divided(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = [_divided(byte) for byte in range(256)]


def masked(checksum: int) -> bytes:
    rotated = (checksum >> 15) | (checksum << 17) & 0xFFFFFFFF
    return struct.pack("<I", (rotated + 0xA282EAD8) % 2**32)


def record(content: bytes) -> bytes:
    """One record of a file."""
    length = struct.pack("<Q", len(content))
    return length + masked(crc32c(length)) + content + masked(crc32c(content))


def varint(value: int) -> bytes:
    value %= 2**64  # negative integers are written as 64 bits
    content = bytearray()
    while value >= 0x80:
        content.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*content, value])


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, a string or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def bytes_list(*values: bytes) -> bytes:
    return field(1, b"".join(field(1, value) for value in values))


def float_list(values: Iterable[float] | np.ndarray, packed: bool = True) -> bytes:
    numbers = [struct.pack("<f", value) for value in values]
    content = field(1, b"".join(numbers)) if packed else b"".join(b"\x0d" + n for n in numbers)
    return field(2, content)


def int64_list(values: Iterable[int], packed: bool = True) -> bytes:
    numbers = [varint(value) for value in values]
    content = field(1, b"".join(numbers)) if packed else b"".join(b"\x08" + n for n in numbers)
    return field(3, content)


def example(features: Mapping[str, bytes]) -> bytes:
    """A message of features, made by the functions above."""
    entries = (
        field(1, field(1, name.encode()) + field(2, value)) for name, value in features.items()
    )
    return field(1, b"".join(entries))


def png(pixels: np.ndarray) -> bytes:
    """A feature of one image."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return bytes_list(file.getvalue())


def features_dict(features: Mapping[str, Any]) -> dict[str, Any]:
    """Of a data set's examples, as TFDS describes it."""
    return feature("features_dict.FeaturesDict", featuresDict={"features": features})


def feature(kind: str, **settings: Any) -> dict[str, Any]:
    """A feature as TFDS describes it."""
    return {"pythonClassName": f"tensorflow_datasets.core.features.{kind}", **settings}


def write_data_set(
    root: Path,
    name: str,
    features: dict[str, Any],
    splits: Mapping[str, Sequence[bytes]],
    version: str = "1.0.0",
    config: str = "",
) -> Path:
    """Writes a data set, as `tfds build --file_format=array_record` does; returns its folder."""
    folder = root / name / config / version
    folder.mkdir(parents=True)
    (folder / "features.json").write_text(json.dumps(features))
    written = []
    for split, rows in splits.items():
        writer = ArrayRecordWriter(
            str(folder / f"{name}-{split}.array_record-00000-of-00001"), "group_size:1"
        )
        for row in rows:
            writer.write(row)
        writer.close()
        pattern = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        sizes = {"numBytes": str(sum(map(len, rows))), "shardLengths": [str(len(rows))]}
        written.append({"name": split, **sizes, "filepathTemplate": pattern})
    info = {"name": name, "version": version, "fileFormat": "array_record", "splits": written}
    (folder / "dataset_info.json").write_text(
        json.dumps({**info, **({"configName": config} if config else {})})
    )
    return folder
