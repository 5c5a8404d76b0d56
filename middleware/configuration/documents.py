"""Reads YAML settings, and refuses what versions of YAML read differently. An error names the line and a correction.

PyYAML reads YAML 1.1: the second of two equal keys silently wins, `off` is false, `017` is fifteen, `1:30` is ninety,
and `12e9` is a text. This module reads scalars by the core schema of YAML 1.2 instead:

* `true`, `false`, `null`, and numbers (`12e9`, `1e3`, `.5`, `0x1f`)
* everything else is a text (`off`, `2024-01-01`); keys are always texts

It refuses equal keys, keys without a value, anchors, merge keys, tags, and several documents. It also refuses numbers
that YAML 1.1 and 1.2 read differently (`017`, `1_000`, `1:30`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from offload.explanations import KeyPath, shown
from offload.settings import SettingsError

_SCALARS = (
    ("null", re.compile(r"null|Null|NULL|~"), "nN~"),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), "tTfF"),
    ("int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+"), "-+0123456789"),
    (
        "float",
        re.compile(
            r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
        ),
        "-+0123456789.",
    ),
    # Octal, binary and sexagesimal numbers of YAML 1.1, and numbers with underscores.
    (
        "ambiguous",
        re.compile(
            r"[-+]?(?:0[0-9_]+(?:\.[0-9]*)?|0b[01_]+|[0-9][0-9_]*_[0-9_]*(?:\.[0-9_]*)?|[0-9]+(?::[0-5]?[0-9])+)"
        ),
        "-+0123456789",
    ),
)
"""The kinds of plain scalars: the tag's name, the pattern, the possible first characters. An empty one is `nothing`."""
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Document:
    """The content of a document. lines: the line (1, 2, …) of the value at each path."""

    values: Any
    lines: Mapping[KeyPath, int] = field(default_factory=dict)


def read_document(content: bytes | str, where: str) -> Document:
    """The single document in a text. `values` is None if the text is empty.

    Raises SettingsError `WHERE:LINE:COLUMN: what is wrong; what to write`.
    """
    text = _decoded(content, where)
    loader = None
    try:
        loader = _Loader(text, where)
        node = loader.get_single_node()
        lines: dict[KeyPath, int] = {}
        return Document(None if node is None else _value(node, (), where, lines), lines)
    except yaml.reader.ReaderError as error:
        raise SettingsError(f"{where}: is not YAML: {_at_character(text, error.position)}{error.reason}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"
        raise SettingsError(f"{where}{place}: {_message(error)}") from None
    except RecursionError:
        raise SettingsError(f"{where}: is nested too deeply to be settings") from None
    finally:
        if loader is not None:
            loader.dispose()


def read_value(text: str, where: str) -> Any:
    """One value, as given to `--set` or in an environment variable. Raises SettingsError that names `where`."""
    if not text.strip():
        raise SettingsError(f"{where}: is empty; write a value, or null for none, or leave it out")
    try:
        return read_document(text, "").values
    except SettingsError as wrong:
        reason = re.sub(r"^:\d+:\d+: (is not YAML: )?", "", str(wrong))
        raise SettingsError(f"{where}: {shown(text)} is not a value: {reason}") from None


def written_document(values: Mapping[str, Any]) -> str:
    """YAML from which `read_document` returns the same values."""
    return str(yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, text: str, where: str) -> None:
        super().__init__(text)
        self.where = where

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            _refuse(
                self.where,
                event.start_mark,
                "anchors (&name) and aliases (*name) are not supported; write the value twice",
            )
        if getattr(event, "tag", None) not in (None, "!"):
            _refuse(
                self.where,
                event.start_mark,
                "tags (!name) are not supported; remove the tag, and write a text in quotes",
            )
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(f"{_TAG}nothing", re.compile(r""), [""])
    for _name, _form, _first in _SCALARS:
        _kind.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_form.pattern})\Z"), list(_first))


def _value(node: Node, path: KeyPath, where: str, lines: dict[KeyPath, int]) -> Any:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, ScalarNode):
        return _scalar(node, path, where)
    if isinstance(node, SequenceNode):
        return [_value(one, (*path, index), where, lines) for index, one in enumerate(node.value)]
    assert isinstance(node, MappingNode)
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, ScalarNode) or not key_node.value:
            _refuse(where, key_node.start_mark, "a key must be a plain name")
        key = key_node.value
        if key == "<<":
            _refuse(where, key_node.start_mark, "merge keys (<<) are not supported; write the keys where they belong")
        if key in found:
            first = lines[(*path, *_parts(key))]
            _refuse(where, key_node.start_mark, f"the key `{key}` is already in line {first}; write one of the two")
        inner = (*path, *_parts(key))
        found[key] = _value(value_node, inner, where, lines)
        lines[inner] = key_node.start_mark.line + 1
    return found


def _parts(key: str) -> tuple[str, ...]:
    """The path of a key: `time.slots` means `slots` in `time`."""
    return tuple(key.split("."))


def _scalar(node: ScalarNode, path: KeyPath, where: str) -> Any:
    kind, text = node.tag.removeprefix(_TAG), node.value
    if node.style is not None or kind == "str":
        return text
    if kind == "nothing":
        _refuse(
            where, node.start_mark, f"{_named(path)} has no value; write one, or null for none, or leave the key out"
        )
    if kind == "ambiguous":
        right = _unambiguous(text)
        number = f"{right}, or " if right else ""
        _refuse(
            where,
            node.start_mark,
            f"{text} is read as different numbers by different programs; write {number}'{text}' for a text",
        )
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        digits = text.lstrip("+-")
        # No setting takes a number of this size, and Python refuses to parse thousands of digits.
        if len(digits) >= 400:
            _refuse(where, node.start_mark, f"a number of {len(digits)} digits is too large for any setting")
        return int(text, 0)
    return float(re.sub(r"\.(?=[in])", "", text.lower()))  # `.inf` is Python's `inf`


def _named(path: KeyPath) -> str:
    return f"`{path[-1]}`" if path and isinstance(path[-1], str) else "this"


def _unambiguous(text: str) -> str:
    """The number that the author probably meant, in decimal digits; empty if that is not clear."""
    plain = text.replace("_", "")
    if re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?", plain):
        sign = plain[0] if plain[0] in "+-" else ""
        return sign + (re.sub(r"^0+(?=[0-9])", "", plain.lstrip("+-")) or "0")
    return ""


def _refuse(where: str, mark: Any, message: str) -> NoReturn:
    raise SettingsError(f"{where}:{mark.line + 1}:{mark.column + 1}: {message}")


def _decoded(content: bytes | str, where: str) -> str:
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SettingsError(
            f"{where}:{line}: is not YAML: byte 0x{content[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def _at_character(text: str, position: int) -> str:
    before = text[:position]
    return f"line {before.count(chr(10)) + 1}, column {position - before.rfind(chr(10))}: "


def _message(error: yaml.MarkedYAMLError) -> str:
    problem = str(error.problem)
    if "'\\t'" in problem:
        return "is not YAML: a tab; indent with spaces"
    if "another document" in problem or "expected a single document" in str(error.context):
        return "a second document begins here; a file of settings is one document"
    context = f" ({error.context})" if error.context else ""
    return f"is not YAML: {problem}{context}"
