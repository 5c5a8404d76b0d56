"""Tests how YAML files of settings are read: ambiguous values are rejected, never silently interpreted."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from middleware.configuration import load_settings
from middleware.configuration.documents import read_document, read_value, written_document
from offload.settings import SettingsError


def read(text: str | bytes) -> Any:
    return read_document(text, "my.yaml").values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12e9", 12e9), ("1e3", 1000.0), ("1E-3", 0.001), ("1e+06", 1e6), (".5", 0.5), ("1.", 1.0),
        ("+1", 1), ("-2", -2), ("0", 0),
        ("0x1f", 31), ("0o17", 15), ("true", True), ("False", False), ("null", None), ("~", None), (".inf", math.inf),
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("No", "No"), ("y", "y"),
        ("2024-01-01", "2024-01-01"), ("1.2.3", "1.2.3"),
        ("'5'", "5"), ('"null"', "null"), ("''", ""), ("1e", "1e"),
    ],
)  # fmt: skip
def test_scalars_are_what_they_look_like_in_files_and_on_command_lines(text: str, value: Any) -> None:
    for found in (read(f"a: {text}")["a"], read_value(text, "--set a")):
        assert (found, type(found)) == (value, type(value))


def test_keys_are_texts_as_they_are_written() -> None:
    assert read("on: 1\nyes: 2\ntrue: 3\n5: 4") == {"on": 1, "yes": 2, "true": 3, "5": 4}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "network: {nodes: 3}\nnetwork: {index: 1}",
            "my.yaml:2:1: the key `network` is already in line 1; write one of the two",
        ),
        ("network:\n  nodes: 3\n  nodes: 4", "my.yaml:3:3: the key `nodes` is already in line 2"),
        ("a: {b: [{c: 1, c: 2}]}", "my.yaml:1:16: the key `c` is already in line 1"),
        ("time.slots: 3\ntime.slots: 4", "my.yaml:2:1: the key `time.slots` is already in line 1"),
        (
            "a: 017",
            "my.yaml:1:4: 017 is read as different numbers by different programs; write 17, or '017' for a text",
        ),
        ("a: 1_000", "write 1000, or '1_000' for a text"),
        ("a: 1_000.5", "write 1000.5, or"),
        ("a: 1:30", "my.yaml:1:4: 1:30 is read as different numbers by different programs; write '1:30' for a text"),
        ("a: 0b11", "write '0b11' for a text"),
        ("a: 0x" + "f" * 400, "my.yaml:1:4: a number of 402 digits is too large for any setting"),
        ("a: 0o" + "7" * 500, "is too large for any setting"),
        ("a: " + "9" * 5000, "is too large for any setting"),
        ("a:", "my.yaml:1:3: `a` has no value; write one, or null for none, or leave the key out"),
        ("a: {b: , c: 1}", "`b` has no value"),
        ("a:\n\t- 1", "my.yaml:2:1: is not YAML: a tab; indent with spaces"),
        ("x: &x {a: 1}", "my.yaml:1:4: anchors (&name) and aliases (*name) are not supported; write the value twice"),
        ("b: *x", "anchors (&name) and aliases"),
        ("a:\n  <<: {y: 2}", "my.yaml:2:3: merge keys (<<) are not supported"),
        ("a: !!python/object/apply:os.system [ls]", "my.yaml:1:4: tags (!name) are not supported"),
        ("a: !!str 5", "tags (!name) are not supported"),
        ("a: 1\n---\nb: 2", "my.yaml:2:1: a second document begins here; a file of settings is one document"),
        ("? [a]\n: 1", "my.yaml:1:3: a key must be a plain name"),
        ("a: [1, 2", "my.yaml:1:9: is not YAML: "),
        ("a: 'x", "my.yaml:1:6: is not YAML: "),
        ("a: \x00", "my.yaml: is not YAML: line 1, column 4: special characters are not allowed"),
        (b"a: 1\nb: \xff", "my.yaml:2: is not YAML: byte 0xff is not UTF-8; save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "is not UTF-8; save the file as UTF-8"),
        ("[" * 5000, "my.yaml: is nested too deeply"),
    ],
)  # fmt: skip
def test_what_would_be_read_otherwise_is_refused_with_its_place(text: str | bytes, expected: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(text)
    assert expected in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_empty_file_is_none_and_byte_order_mark_is_ignored() -> None:
    assert read("") is None
    assert read("# only a comment\n") is None
    assert read("\ufeffa: 1".encode()) == {"a": 1}


def test_json_is_read_as_what_it_is() -> None:
    """The chart writes JSON, with large numbers in Helm's notation."""
    data = {"a": 1e6, "b": "on", "c": [1, 2.5, None, True], "d": {"e": "é\n"}, "f": "12e9"}
    assert read(json.dumps(data, indent=2)) == data
    assert read('{"a": 1e+06, "b": 12000000000}') == {"a": 1e6, "b": 12_000_000_000}


def test_what_is_written_is_read_back() -> None:
    texts = [
        "1e3",
        "off",
        "017",
        "1_000",
        "null",
        "",
        "1:30",
        "true",
        "0x1f",
        "-",
        "~",
        " x",
        "=",
        "<<",
        "2024-01-01",
        "a: b",
        "#",
    ]
    values = {"texts": texts, "numbers": [1, -2, 0.5, 1e300, 3e9, math.inf], "none": None, "flag": False, "empty": {}}
    assert read(written_document(values)) == values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty; write a value, or null for none, or leave it out"),
        ("017", "'017' is not a value: 017 is read as different numbers"),
        ("{a: 1, a: 2}", "is not a value: the key `a`"),
        ("[1, 2", r"'[1, 2' is not a value"),
    ],
)
def test_a_value_of_the_command_line_or_the_environment_is_refused_alike(text: str, expected: str) -> None:
    for sets, environment, where in (
        ([f"seed={text}"], {}, "--set seed: "),
        ([], {"OFFLOAD_SEED": text}, "environment variable OFFLOAD_SEED: "),
    ):
        with pytest.raises(SettingsError) as refused:
            load_settings(None, None, sets, environment)
        assert str(refused.value).startswith(where)
        assert expected in str(refused.value)


def test_numbers_of_the_documentation_are_numbers_in_every_layer(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("network: {core_frequency_hz: 12e9}\noffline: {steps: 1e3}\n")
    from_file = load_settings(None, tmp_path / "x.yaml", (), {})
    from_sets = load_settings(None, None, ["network.core_frequency_hz=12e9", "offline.steps=1e3"], {})
    from_environment = load_settings(
        None, None, (), {"OFFLOAD_NETWORK__CORE_FREQUENCY_HZ": "12e9", "OFFLOAD_OFFLINE__STEPS": "1e3"}
    )
    for settings in (from_file, from_sets, from_environment):
        assert settings.network.core_frequency_hz == 12e9
        assert (settings.offline.steps, type(settings.offline.steps)) == (1000, int)


def test_a_name_may_be_a_word_that_older_yaml_takes_for_false(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("scheduler: {name: off}\nonline: {learning_rate_decay: no}\n")
    settings = load_settings(None, tmp_path / "x.yaml", (), {})
    assert settings.scheduler.name == "off"
    assert settings.online.learning_rate_decay is False


def test_a_refused_setting_says_where_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("seed: 3\ntasks:\n  deadline_s: 1 GB\n")
    with pytest.raises(SettingsError, match=r"tasks\.deadline_s: '1 GB' .*\(.*x\.yaml, line 3\)"):
        load_settings(None, file, (), {})
    with pytest.raises(SettingsError, match=r"seed: 'x' .* \(OFFLOAD_SEED\)"):
        load_settings(None, None, (), {"OFFLOAD_SEED": "x"})
    with pytest.raises(SettingsError, match=r"seed: 'x' .* \(--set seed\)"):
        load_settings(None, None, ["seed=x"], {"OFFLOAD_SEED": "5"})
