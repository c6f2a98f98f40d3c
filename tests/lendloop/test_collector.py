"""The collector is out of the way while many rows are made, and only then."""

from __future__ import annotations

import gc

import pytest

from lendloop.collector import uncollected


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
