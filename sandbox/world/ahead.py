"""Making what comes next while what is there is worked on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item], at_most: int) -> Iterator[Item]:
    """The items in their order, made by a thread of its own, `at_most` ahead. Raises what making them raises."""
    maker, made = ThreadPoolExecutor(1), iter(items)
    try:
        coming = deque(maker.submit(next, made, _END) for _ in range(at_most))
        while (item := coming.popleft().result()) is not _END:
            coming.append(maker.submit(next, made, _END))
            yield cast(Item, item)
    finally:
        maker.shutdown(cancel_futures=True)
