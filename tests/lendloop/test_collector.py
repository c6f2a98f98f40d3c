"""The collector is out of the way while a process starts or many rows are made, and works all the same."""

from __future__ import annotations

import gc

import pytest

from lendloop.collector import collect_seldom, uncollected


@uncollected()
def fail() -> None:
    assert not gc.isenabled()
    raise ValueError("broken")


def test_the_collector_works_again_afterwards_whatever_happened() -> None:
    with pytest.raises(ValueError, match="broken"):
        fail()
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_process_that_starts_is_seldom_looked_through_and_cycles_still_go() -> None:
    class Node:
        alive = 0

        def __init__(self) -> None:
            self.me = self
            Node.alive += 1

        def __del__(self) -> None:
            Node.alive -= 1

    before = gc.get_threshold()
    collect_seldom()
    try:
        looks = gc.get_stats()[0]["collections"]
        for _ in range(200_000):
            Node()
        assert 0 < Node.alive <= 60_000
        assert 2 <= gc.get_stats()[0]["collections"] - looks < 20
    finally:
        gc.set_threshold(*before)
