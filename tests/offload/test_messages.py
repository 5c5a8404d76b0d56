"""Tests messages for wrong settings: each says which setting is wrong, its value, and what to write instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from controller.interface import LiveSettingsChange
from middleware.configuration.documents import read_value
from middleware.http.problems import HTTPProblem, parsed
from offload.explanations import did_you_mean, shown
from offload.manifest import ManifestError, ModelManifest
from offload.settings import Settings, SettingsError, resolve_settings

JARGON = (
    "Input should", "valid tuple", "valid dictionary", "valid integer", "valid string", "Field required",
    "Extra inputs",
    "Value error", "unable to", "parse string", "instance of", "at least 1 item", "greater than", "less than", "got ",
    "value_error", "None", "True", "False",
)  # fmt: skip

WRONG = [
    ("seed", -1, "-1 is not a whole number from 0 to 4294967295; for example 1"),
    ("seed", "first", "'first' is not a whole number from 0 to 4294967295"),
    ("seed", None, "null is not a whole number"),
    ("network.nodes", 0, "0 is not a whole number from 1 to 1000; for example 10"),
    ("network.nodes", 2.5, "2.5 is not a whole number"),
    ("network.nodes", "3 nodes", "'3 nodes' is not a whole number"),
    ("network.nodes", [3], "[3] is not a whole number"),
    ("network.cores", [], "[] is not a list of one or more whole numbers from 1 to 1000000; for example [4, 8"),
    ("network.cores", 4, "4 is not a list"),
    (
        "network.rate_bps",
        ["10 MB/s"],
        "['10 MB/s'] is not a range [low, high] of transmission rates; for example [10 MB/s, 40",
    ),
    ("network.rate_bps", [1, 2, 3], "[1, 2, 3] is not a range [low, high]"),
    ("network.arrival_probability", 0.5, "0.5 is not a range [low, high] of numbers"),
    ("tasks.size_bits", "1 MB", "'1 MB' is not a range [low, high] of amounts of data; for example [500 KB, 8 MB]"),
    ("tasks.size_bits", {"low": 1}, "{low: 1} is not a range [low, high]"),
    ("tasks.deadline_s", 0, "0 is not a duration above 0 and of at most 1e+09; for example 500 ms"),
    ("tasks.deadline_s", "1 GB", "'1 GB' is not a duration; write a number in SI units or, for example, '500 ms'"),
    ("tasks.deadline_s", float("inf"), "inf is not finite; expected a duration above 0"),
    ("tasks.deadline_s", None, "null is not a duration"),
    ("time.time_scale", 1000, "1000 is not a number above 0 and of at most 100; for example 1"),
    ("time.slot_s", float("nan"), "nan is not finite"),
    ("time.failure_timing", "start", "'start' is not 'end' or 'event'; for example end"),
    ("node.overload_threshold_s", -1, "-1 is not a duration above 0 and of at most 1e+09, or null"),
    ("scheduler.name", False, "false is not a text of at least one character; for example ratc; write it in quotes"),
    ("scheduler.name", 12, "12 is not a text"),
    ("scheduler.name", "", "'' is not a text of at least one character"),
    ("scheduler.model", 7, "7 is not a text of at most 64 characters, or null; for example name; write it in quotes"),
    ("scheduler.model", "a//b", "'a//b' is not a model; write VERSION or RUN/VERSION"),
    ("scheduler.model", "../x/offline", "'../x/offline' is not a model; write VERSION or RUN/VERSION"),
    ("scheduler.parameters", 3, "3 is not a mapping of names to values; for example {d: 3}"),
    ("scheduler.parameters.d", [1], "[1] is not a number, or true or false, or a text"),
    ("scheduler.parameters.d", float("nan"), "nan is not finite"),
    (
        "scheduler",
        "rda",
        "'rda' is not a section; write keys below it (name, parameters, model); for example {name: ratc}",
    ),
    ("network", None, "null is not a section; write keys below it (nodes, "),
    ("online.learning_rate_decay", "maybe", "'maybe' is not true or false; for example true"),
    ("online.clip", 1, "1 is not a number above 0 and below 1; for example 0.2"),
    ("online.minibatch_rows", 0, "0 is not a whole number of at least 1, or null; for example 2048"),
    ("online.gradient_clip", "none", "'none' is not a number above 0, or null; for example 1"),
    ("evaluation.methods", "ratc", "'ratc' is not a list of one or more texts; for example [random, "),
    ("log_level", "debug", "'debug' is not 'DEBUG' or 'INFO' or 'WARNING' or 'ERROR'; for example INFO"),
    ("learner.device", "gpu", "'gpu' is not a device; write auto, cpu, mps, cuda, or cuda:0"),
    (
        "services.database",
        "postgres://x",
        "'postgres://x' is not a URL of this service; write sqlite:///PATH or mysql+",
    ),
    ("services.database", "sqlite:///", "'sqlite:///' is not complete"),
    ("services.database", "sqlite:///:memory:", "'sqlite:///:memory:' is not complete"),
    (
        "services.database",
        "mysql+pymysql://root@db",
        "is not complete, or not of this form; write sqlite:///PATH or mysql",
    ),
    ("services.database", "mysql+pymysql://root@db:x/offload", "'x' is not a port"),
    ("services.storage", "file:", "'file:' is not complete"),
    ("services.storage", "hdfs+http://:9870/x", "names no host"),
    ("services.registry", "nacos://h:99999", "'99999' is not a port; write a number from 1 to 65535"),
    ("services.registry", "nacos://h:8848/a/b", "is not complete, or not of this form; write database:, or nacos://"),
    ("services.configuration", "etcd://x", "is not a URL of this service; write file:"),
]  # fmt: skip


def layer(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


@pytest.mark.parametrize(("path", "value", "expected"), WRONG)
def test_a_message_names_the_key_the_value_and_what_is_right(path: str, value: Any, expected: str) -> None:
    with pytest.raises(SettingsError) as refused:
        resolve_settings([layer(path, value)])
    message = str(refused.value)
    assert message.startswith(f"{path}: ")
    assert expected in message
    assert len(message.splitlines()) == 1
    for jargon in JARGON:
        assert jargon not in message


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path, value, _ in WRONG if not path.startswith("services")]
)
def test_what_a_message_gives_as_an_example_is_taken(path: str, value: Any) -> None:
    with pytest.raises(SettingsError) as refused:
        resolve_settings([layer(path, value)])
    example = re.search(r"; for example (.*?)(?:; write it in quotes.*)?$", str(refused.value))
    if example:
        resolve_settings([layer(path, read_value(example[1], ""))])


def _paths(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield above + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _paths(field.annotation, f"{above}{name}.")


@pytest.mark.parametrize("path", [*_paths(Settings)])
def test_every_setting_refuses_what_no_setting_takes_in_words_of_ours(path: str) -> None:
    """Settings that are added to the model must have messages as well."""
    with pytest.raises(SettingsError) as refused:
        resolve_settings([layer(path, [[None]])])
    message = str(refused.value)
    assert message.startswith(path)
    assert not any(jargon in message for jargon in JARGON), message


def test_an_unknown_key_is_answered_with_the_one_that_was_meant() -> None:
    for given, meant in (
        ({"slots": 3}, "time.slots"),
        ({"network": {"node": 3}}, "nodes"),
        ({"netwrok": {}}, "network"),
    ):
        with pytest.raises(SettingsError, match=rf"is not a setting, did you mean {meant}\? Keys of this section: "):
            resolve_settings([given])
    with pytest.raises(SettingsError, match=r"surprise: is not a setting; keys of this section: seed, network"):
        resolve_settings([{"surprise": 1}])


def test_one_mistake_is_one_line_and_two_are_two() -> None:
    with pytest.raises(SettingsError) as refused:
        resolve_settings([{"network": {"cores": [0, 4]}, "scheduler": {"parameters": {"d": None}}}])
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "network.cores[0]",
        "scheduler.parameters.d",
    ]


def test_a_value_below_services_is_not_shown() -> None:
    with pytest.raises(SettingsError) as refused:
        resolve_settings([{"services": {"database": ["mysql://u:geheim@h/d"], "storage": 5}}])
    assert "geheim" not in str(refused.value)


def test_a_manifest_is_refused_in_the_same_words() -> None:
    with pytest.raises(ManifestError) as refused:
        ModelManifest.from_bytes(b'{"version": "../x", "actions": 1}', "m.json")
    message = str(refused.value)
    assert "algorithm: is missing" in message
    assert "actions: 1 is not a whole number of at least 2" in message
    assert not any(jargon in message for jargon in JARGON)


@pytest.mark.parametrize(("content", "given"), [("[]", "[]"), ("null", "null"), ("NaN", "nan"), ('"x"', "'x'")])
def test_a_body_that_is_no_object_is_refused_with_what_was_given(content: str, given: str) -> None:
    expected = re.escape(f"{given} is not a JSON object; expected an object with keys of: live_settings, by")
    with pytest.raises(HTTPProblem, match=f"^{expected}") as refused:
        parsed(LiveSettingsChange, content.encode())
    assert refused.value.status == 422
    if content != "NaN":
        with pytest.raises(ManifestError, match=re.escape(f"m.json is not a manifest: {given} is not a JSON object")):
            ModelManifest.from_bytes(content.encode(), "m.json")


@pytest.mark.parametrize(("given", "written"), [("", "''"), ("x" * 65, "'xxx")])
def test_a_text_of_a_wrong_length_is_refused_with_both_bounds(given: str, written: str) -> None:
    with pytest.raises(HTTPProblem, match=f"^by: {written}.* is not a text of 1 to 64 characters"):
        parsed(LiveSettingsChange, json.dumps({"live_settings": {"log_level": "INFO"}, "by": given}).encode())


def test_only_what_is_close_is_proposed() -> None:
    assert did_you_mean("sedd", ["local", "sed"]) == ", did you mean sed?"
    assert did_you_mean("zzz", ["local", "sed"]) == ""


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 1000)) == 80
