"""Tests the instants at which slots begin, on which all measurements depend."""

from __future__ import annotations

import time

import pytest

from controller.clock import SlotClock


def test_slots_are_spaced_by_the_model_time_over_the_scale():
    clock = SlotClock(start_s=1000.0, slot_s=0.1, time_scale=4.0)
    assert clock.instant_s(0) == 1000.0
    assert clock.instant_s(40) == pytest.approx(1001.0)


def test_lateness_is_in_model_seconds_and_negative_before_the_slot():
    clock = SlotClock(start_s=time.monotonic() - 1.0, slot_s=0.5, time_scale=2.0)
    assert clock.late_s(0) >= 2.0
    assert clock.late_s(8) <= -1.0
