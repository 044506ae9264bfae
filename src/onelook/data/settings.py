"""The two files that say what a set of YOLO's text labels consists of: Darknet's .data, Ultralytics' data.yaml.

Of YAML, what such files are written in is understood: a key a line; its value a word, a list or a mapping, each in a
line or below in lines of their own. The values of keys that do not matter here are passed over.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from onelook.data.files import read_lines
from onelook.errors import DataError
from onelook.runtime.picture import shown

_LARGEST = 1 << 22  # bytes
_KEY = re.compile(r"([A-Za-z_][\w-]*)[ \t]*:(?:[ \t]+(.*)|$)")
_PATHS = ("path", "train", "val", "test")

# In [..] and {..}: a key, where there is one; its value in quotes, or a word; what follows.
_ITEM = re.compile(
    r"""\s*(?:(\w+)\s*:\s+)?(?:("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*|([^][{},\s"'#][^][{},]*))(,\s*[]}]?|[]}])"""
)


def read_data(file: Path) -> dict[str, str]:
    """The lines `key = value` of a Darknet .data file. Raises DataError where it cannot be read or holds other lines."""
    found = {}
    for number, line in enumerate(read_lines(file, _LARGEST), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals or not key or "\0" in value:
            raise DataError(f"{shown(str(file))}:{number}: expected 'key = value'; found {text[:48]!a}")
        found[key] = value
    return found


def read_yaml(file: Path) -> tuple[dict[str, list[str]], tuple[str, ...] | None]:
    """What a data.yaml says.

    Returns:
        The values of path, train, val, test and of any other key that has a word or a list of words; the names of the
        classes, None where there are none.

    Raises:
        DataError: it cannot be read, or one of these is written in a way that is not understood.
    """
    words: dict[str, list[str]] = {}
    names = None
    for number, key, value, below in _entries(read_lines(file, _LARGEST)):
        try:
            found = _value(value, below)
            if key == "names":
                names = _names(found)
            elif isinstance(found, dict) or not all(word.isprintable() for word in found):
                raise ValueError("expected a path or a list of paths")
            else:
                words[key] = found
        except ValueError as error:
            if key in (*_PATHS, "names"):
                raise DataError(f"{shown(str(file))}:{number}: {key}: {error}") from None
    return words, names


def _entries(lines: list[str]) -> Iterator[tuple[int, str, str, list[str]]]:
    """Each key at the start of a line: the line's number, the key, the value beside it, the lines below it."""
    starts = [(number, match) for number, line in enumerate(lines) if (match := _KEY.match(line))]
    ends = [*(number for number, _ in starts[1:]), len(lines)]
    for (number, match), end in zip(starts, ends, strict=False):
        yield number + 1, match[1], (match[2] or "").strip(), lines[number + 1 : end]


def _value(value: str, below: list[str]) -> list[str] | dict[str, str]:
    """A word or list as a list, or a mapping. Raises ValueError saying what is not understood."""
    if value.startswith(("[", "{")):
        return _flow("\n".join(map(_without_comment, [value, *below])))
    if value and not value.startswith("#"):
        return [] if value in ("null", "~") else [_word(value)]
    listed: list[str] = []
    mapped: dict[str, str] = {}
    for line in (line.strip() for line in below):
        if line.startswith("- "):
            listed.append(_word(line[2:].strip()))
        elif line and not line.startswith(("#", "---")):
            key, colon, word = line.partition(": ")
            if not colon or key in mapped:
                raise ValueError(f"expected '- name' or 'number: name', each number once; found {line[:48]!a}")
            mapped[_word(key)] = _word(word.strip())
    if listed and mapped:
        raise ValueError("a list or a mapping, not both")
    return mapped or listed


def _word(text: str) -> str:
    """A value that stands in a line of its own, without its quotes and the comment behind it."""
    quoted = re.fullmatch(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')(?:\s+#.*|\s*)""", text)
    if quoted:
        return _unquote(quoted[1])
    plain = text.partition(" #")[0].rstrip()
    if not plain or plain[0] in "\"'[]{}&*!|>%@`#":
        raise ValueError(f"not understood: {text[:48]!a}")
    return plain


def _unquote(text: str) -> str:
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    return str(json.loads(text))  # whose texts are YAML's, but for escapes nobody uses


def _without_comment(line: str) -> str:
    """A line of a list or mapping without the comment behind its last text in quotes."""
    end = max(line.rfind("'"), line.rfind('"')) + 1
    return line[:end] + f" {line[end:]}".partition(" #")[0][1:]


def _flow(text: str) -> list[str] | dict[str, str]:
    """The content of [a, b] or {0: a, 1: b}."""
    close = {"[": "]", "{": "}"}[text[0]]
    listed: list[str] = []
    mapped: dict[str, str] = {}
    position, after = 1, ""
    if text[1:].lstrip().startswith(close):
        return []
    while not after.endswith(close):
        item = _ITEM.match(text, position)
        if item is None or (item[1] is None) == (close == "}") or item[1] in mapped:
            raise ValueError(f"not understood: {text[position : position + 48]!a}")
        key, quoted, plain, after = item.groups()
        position = item.end()
        word = _unquote(quoted) if quoted else plain.strip()
        if key is None:
            listed.append(word)
        else:
            mapped[key] = word
    return mapped or listed


def _names(found: list[str] | dict[str, str]) -> tuple[str, ...]:
    if isinstance(found, dict):
        numbers = [str(i) for i in range(len(found))]
        if found.keys() != set(numbers):
            raise ValueError("expected each number from 0 on once")
        found = [found[number] for number in numbers]
    if not found or not all(name.strip() and name.isprintable() for name in found):
        raise ValueError("expected a list of class names")
    return tuple(name.strip() for name in found)
