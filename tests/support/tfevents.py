"""Reads TensorBoard event files by their published formats alone: TFRecord framing with masked CRC-32C
(https://www.tensorflow.org/tutorials/load_data/tfrecord) and protobuf's wire format. No code of ours judges our files.
"""

import struct
from pathlib import Path


def _table():
    rows = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        rows.append(value)
    return rows


TABLE = _table()


def masked_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    """Each record's bytes. A file that ends within a record (its writer was killed) ends before it; a wrong check sum
    is a ValueError."""
    data, at = Path(path).read_bytes(), 0
    while at + 12 <= len(data):
        length, length_crc = struct.unpack_from("<QI", data, at)
        if masked_crc32c(data[at:at + 8]) != length_crc:
            raise ValueError(f"{path}: the length at byte {at} does not match its check sum")
        body = data[at + 12:at + 12 + length]
        if at + 16 + length > len(data):
            return
        if masked_crc32c(body) != struct.unpack_from("<I", data, at + 12 + length)[0]:
            raise ValueError(f"{path}: the record at byte {at} does not match its check sum")
        yield body
        at += 16 + length


def _varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data: bytes):
    """(number, value) of a message; a length-delimited value is bytes, fixed ones too."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
        else:
            if kind == 2:
                length, at = _varint(data, at)
            else:
                length = {1: 8, 5: 4}[kind]
            value = data[at:at + length]
            if len(value) != length:
                raise ValueError("a field runs out of its message")
            at += length
        yield key >> 3, value


def field(data: bytes, *numbers):
    """The value at a path of field numbers, None where there is none."""
    for number in numbers:
        data = dict(fields(data)).get(number)
        if data is None:
            return None
    return data


class Run:
    """A folder's curves as TensorBoard shows them: files in the order of their names; a START forgets what was said of
    its step and later ones."""

    def __init__(self, folder):
        self.files = sorted(Path(folder).glob("events.out.tfevents.*"))
        self.scalars: dict[str, dict[int, float]] = {}
        self.texts: dict[str, dict[int, str]] = {}
        self.versions, self.starts = [], []
        for path in self.files:
            for event in records(path):
                self._take(event)

    def _take(self, event: bytes) -> None:
        step = field(event, 2) or 0
        version, session, summary = field(event, 3), field(event, 7), field(event, 5)
        assert struct.unpack("<d", field(event, 1))[0] > 1.7e9, "wall time"
        if version is not None:
            self.versions.append(version.decode())
        if session is not None and field(session, 1) == 1:
            self.starts.append(step)
            for curve in [*self.scalars.values(), *self.texts.values()]:
                for old in [s for s in curve if s >= step]:
                    del curve[old]
        for number, value in fields(summary or b""):
            assert number == 1
            tag = field(value, 1).decode()
            if field(value, 2) is not None:
                self.scalars.setdefault(tag, {})[step] = struct.unpack("<f", field(value, 2))[0]
            if field(value, 8) is not None:
                assert field(value, 9, 1, 1) == b"text"
                self.texts.setdefault(tag, {})[step] = field(value, 8, 8).decode()
