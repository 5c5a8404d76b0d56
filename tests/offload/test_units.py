"""Tests units: `8 MB` is eight million bytes, and misspelled units are rejected."""

import pytest

from offload.units import parse_quantity


@pytest.mark.parametrize(
    ("text", "quantity", "si"),
    [
        ("500 ms", "a duration", 0.5),
        ("2 min", "a duration", 120.0),
        ("1.5e3 µs", "a duration", 1.5e-3),
        ("8 MB", "an amount of data", 64e6),
        ("1 KB", "an amount of data", 8000.0),
        ("1 kB", "an amount of data", 8000.0),
        ("12 Mbit", "an amount of data", 12e6),
        ("40 MB/s", "a transmission rate", 320e6),
        ("100Mbps", "a transmission rate", 100e6),
        ("3 GHz", "a frequency", 3e9),
        ("0.1 /s", "a failure rate", 0.1),
        ("6/min", "a failure rate", 0.1),
        ("800 cycles/bit", "a complexity", 800.0),
        ("800 cycles/B", "a complexity", 100.0),
        (" .5s ", "a duration", 0.5),
        ("7", "a duration", 7.0),
        (7, "a duration", 7.0),
        (0.25, "an amount of data", 0.25),
    ],
)
def test_a_quantity_becomes_its_si_value(text, quantity, si):
    assert parse_quantity(text, quantity) == pytest.approx(si, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "quantity", "example"),
    [
        ("500 MB", "a duration", "500 ms"),
        ("40 MB", "a transmission rate", "40 MB/s"),
        ("3 ghz", "a frequency", "3 GHz"),
        ("fast", "a transmission rate", "40 MB/s"),
        ("", "a duration", "500 ms"),
        ("1 2 s", "a duration", "500 ms"),
        (True, "a duration", "500 ms"),
        (None, "a frequency", "3 GHz"),
        ([1], "a failure rate", "0.1 /s"),
    ],
)
def test_a_wrong_quantity_is_refused_with_the_value_and_an_example(value, quantity, example):
    with pytest.raises(ValueError) as refused:
        parse_quantity(value, quantity)
    assert repr(value) in str(refused.value)
    assert quantity in str(refused.value)
    assert example in str(refused.value)
