"""Days on which a dataset kept its promise: kept by build, counted back from the newest."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from lendloop.days import DAYS_KEPT, keep_day, read_days
from lendloop.home import Home

MANIFEST = {"nodes": {"model.lendloop.one": {"schema": "gray", "alias": "one"}}}
TODAY = date(2026, 3, 10)


class Outcome(NamedTuple):
    unique_id: str
    ok: bool
    warned: bool = False


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path).prepare()


def build(home: Home, day: date, *, passed: bool = True, tested: bool = True, warned: bool = False) -> None:
    outcomes = [Outcome("model.lendloop.one", True)]
    outcomes += [Outcome("test.lendloop.unique_one.123", passed, warned)] if tested else []
    keep_day(home, MANIFEST, ((one, "model.lendloop.one") for one in outcomes), day)


def test_clean_days_are_counted_back_to_the_last_that_was_not(home: Home) -> None:
    assert read_days(home).clean_days("gray.one") == 0
    for number, passed in enumerate([True, False, True, True]):
        build(home, TODAY + timedelta(days=number), passed=passed)
    assert read_days(home).clean_days("gray.one") == 2


def test_a_day_once_broken_stays_so_and_says_what_failed(home: Home) -> None:
    build(home, TODAY, passed=False)
    build(home, TODAY)
    days = read_days(home)
    assert days.clean_days("gray.one") == 0
    assert days.datasets["gray.one"][TODAY].broken == ["unique_one"]


def test_a_day_that_was_warned_of_is_clean_for_who_is_agreed_and_not_for_who_is_to_be(home: Home) -> None:
    build(home, TODAY, warned=True)
    build(home, TODAY)
    build(home, TODAY + timedelta(days=1))
    days = read_days(home)
    assert days.clean_days("gray.one") == 2
    assert days.clean_days("gray.one", strictly=True) == 1


def test_a_day_without_a_test_proves_nothing(home: Home) -> None:
    build(home, TODAY, tested=False)
    assert read_days(home).clean_days("gray.one") == 0


def test_old_days_go(home: Home) -> None:
    build(home, TODAY)
    build(home, TODAY + timedelta(days=DAYS_KEPT))
    assert list(read_days(home).datasets["gray.one"]) == [TODAY + timedelta(days=DAYS_KEPT)]


def test_a_dataset_that_is_there_no_more_is_forgotten_with_its_last_day(home: Home) -> None:
    build(home, TODAY)
    keep_day(home, MANIFEST, [], TODAY + timedelta(days=DAYS_KEPT - 1))
    assert list(read_days(home).datasets) == ["gray.one"]
    keep_day(home, MANIFEST, [], TODAY + timedelta(days=DAYS_KEPT))
    assert read_days(home).datasets == {}
