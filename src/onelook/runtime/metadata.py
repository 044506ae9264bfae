"""Metadata in a model file, changed in place: no package of ONNX is needed for it, and the network is not looked at.

A model file is a message of protocol buffers (https://protobuf.dev/programming-guides/encoding): fields one after the
other, each with a tag (number * 8 + kind) and, if it is of kind 2, a length and that many bytes. The metadata are fields
of number 14, each a message of a key (1) and a value (2), both text. The order of fields of different numbers is free.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from onelook.errors import ModelError
from onelook.runtime import atomic

_METADATA, _KEY, _VALUE = 14, 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # kinds
_LARGEST = 1 << 24  # bytes of one metadata entry that is looked into
_CHUNK = 1 << 20


class _Field(NamedTuple):
    number: int
    start: int
    """Of its tag in the file."""
    content: int
    """Of what follows the tag and the length."""
    end: int


def set_metadata(path: str | Path, **values: str) -> Path:
    """Give entries of a model file's metadata other values; what else is in the file stays byte for byte.

    The file is replaced whole or not at all. Gives its path, that of the file itself where `path` is a link.

    Args:
        path: of a model file of onelook's.
        values: the new texts by key; keys that the file does not have are added.

    Raises:
        ModelError: there is no such file, or it is damaged, or not of onelook's format.
        Error: the file cannot be written.
    """
    path = Path(os.path.realpath(path))
    try:
        with path.open("rb") as file:
            kept = [field for field in _fields(file, path) if _key(file, field, path) not in values]
            if not any(_key(file, field, path) == "format" for field in kept):
                raise ModelError(f"{path}: is not a model file of onelook's: it has no metadata entry 'format'")
            _write(file, kept, values, path)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    return path


def _write(file: BinaryIO, kept: list[_Field], values: dict[str, str], path: Path) -> None:
    temporary = atomic.beside(path)
    try:
        with atomic.writing(path):
            with temporary.open("wb") as copy:
                for field in kept:
                    file.seek(field.start)
                    _copy(file, copy, field.end - field.start)
                for key, value in values.items():
                    entry = _text(_KEY, key) + _text(_VALUE, value)
                    copy.write(_varint(_METADATA << 3 | _BYTES) + _varint(len(entry)) + entry)
            shutil.copymode(path, temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy(file: BinaryIO, copy: BinaryIO, count: int) -> None:
    while count:
        data = file.read(min(count, _CHUNK))
        copy.write(data)
        count -= len(data)


def _fields(file: BinaryIO, path: Path) -> Iterator[_Field]:
    """The fields of the outermost message. Raises ModelError where the file does not consist of such."""
    size = os.fstat(file.fileno()).st_size
    end = 0
    while end < size:
        start = end
        file.seek(start)
        number, kind = divmod(_read_varint(file, path), 8)
        if kind == _BYTES:
            length = _read_varint(file, path)
            content = file.tell()
            end = content + length
        elif kind == _VARINT:
            content = file.tell()
            _read_varint(file, path)
            end = file.tell()
        elif kind in (_FIXED64, _FIXED32):
            content = file.tell()
            end = content + (8 if kind == _FIXED64 else 4)
        else:
            raise ModelError(f"{path}: is damaged, or no ONNX file: no field of kind {kind} can be at byte {start}")
        if not number or end > size:
            raise ModelError(f"{path}: is damaged, or no ONNX file: the field at byte {start} does not fit")
        yield _Field(number, start, content, end)


def _key(file: BinaryIO, field: _Field, path: Path) -> str | None:
    """The key of a metadata entry; None for any other field."""
    if field.number != _METADATA or field.end - field.content > _LARGEST:
        return None
    file.seek(field.content)
    while file.tell() < field.end:
        tag = _read_varint(file, path)
        length = _read_varint(file, path)
        if tag & 7 != _BYTES or file.tell() + length > field.end:
            raise ModelError(f"{path}: is damaged: a metadata entry at byte {field.start} is not one")
        if tag >> 3 == _KEY:
            return file.read(length).decode("utf-8", "replace")
        file.seek(length, os.SEEK_CUR)
    return None


def _read_varint(file: BinaryIO, path: Path) -> int:
    """A number in groups of seven bits, the lowest first; the upper bit of a byte says that another follows."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    raise ModelError(f"{path}: is damaged, or no ONNX file: no number ends before byte {file.tell()}")


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(data) + bytes([value])


def _text(number: int, text: str) -> bytes:
    data = text.encode()
    return _varint(number << 3 | _BYTES) + _varint(len(data)) + data
