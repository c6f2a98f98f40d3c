"""Misbehaviour on demand: which fault meets which call.

Kinds, for the HTTP stand-ins: `status` answers that status; `rate_limit` and `expired` refuse in the vendor's own
words; `delay` waits first; `silence` never answers; `cut` ends in the middle of the answer (`inside` the plain body, a
gzip body or a chunk); `reset` ends it without one; `wrong_type` answers an HTML page; `slow_drip` sends the answer a
little at a time over `delay_s`; `partial` makes a share of a batch's rows fail inside a 2xx (Blueshift);
`page_repeated` answers the page before once more; `page_missing` leads past the next page; `skew` answers as if the
vendor's clock were `skew_s` off. For `smtp`: `status` answers that SMTP code after DATA, `partial` refuses a share of
the recipients, and what is in `_SMTP` as above. With `after_effect` the work is done first and only its answer is spoilt.
"""

from __future__ import annotations

import random
import re
import threading
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SystemName = Literal["hubspot", "zendesk", "blueshift", "slack", "smtp"]
FaultKind = Literal[
    "status",
    "rate_limit",
    "expired",
    "delay",
    "silence",
    "cut",
    "reset",
    "wrong_type",
    "slow_drip",
    "partial",
    "page_repeated",
    "page_missing",
    "skew",
]
_WITH_PARTIAL = ("blueshift", "smtp")
_WITH_PAGES = ("hubspot", "zendesk", "slack")
_SMTP = ("status", "rate_limit", "expired", "delay", "silence", "cut", "reset", "partial")


class Fault(BaseModel):
    """One fault as it is asked for.

    It spares the first `skip` calls that it fits, then meets the next `count`, or each with the probability `share`, or
    both: at most `count` calls, drawn with `share`. With neither it meets every call until it is deleted. For
    `partial`, `share` is the share of the rows instead. `path` is a regular expression searched in
    the path and query below the vendor's prefix, `method` an HTTP method. `policy` chooses among a vendor's limits
    (HubSpot: `burst` or `daily`) or forms (Slack: `in_body` refuses inside a 200); `retry_after` is the header's text.
    """

    model_config = ConfigDict(extra="forbid")

    system: SystemName
    kind: FaultKind
    status: int = Field(500, ge=100, le=599)
    headers: dict[str, str] = {}
    body: Any = None
    delay_s: float = Field(1.0, ge=0, le=600)
    policy: Literal["burst", "daily", "in_body"] = "burst"
    retry_after: str = "1"
    inside: Literal["body", "gzip", "chunk"] = "body"
    skew_s: float = 0.0
    skip: int = Field(0, ge=0)
    count: int | None = Field(None, ge=1)
    share: float | None = Field(None, gt=0, le=1)
    path: str | None = None
    method: str | None = None
    after_effect: bool = False

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.kind == "partial" and self.system not in _WITH_PARTIAL:
            raise ValueError(f"partial is for {' and '.join(_WITH_PARTIAL)}: {self.system} takes no batch")
        if self.kind.startswith("page_") and self.system not in _WITH_PAGES:
            raise ValueError(f"{self.kind} is for {', '.join(_WITH_PAGES)}: {self.system} answers no pages")
        if self.system == "smtp" and self.kind not in _SMTP:
            raise ValueError(f"{self.kind} is for HTTP, not for smtp")
        if self.path is not None:
            try:
                re.compile(self.path)
            except re.error as error:
                raise ValueError(f"path is no regular expression: {error}") from None
        return self


class FaultBook:
    """The faults in force; `meet` says which one a call meets and counts it down."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._faults: list[tuple[Fault, list[int]]] = []
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults.append((fault, [0, 0]))

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def meet(self, system: str, method: str, path: str) -> Fault | None:
        """The first fault in force that the call meets, None when it is spared."""
        with self._lock:
            for fault, counted in self._faults:
                if fault.system != system or (fault.count is not None and counted[0] >= fault.count):
                    continue
                if fault.method and fault.method.upper() != method:
                    continue
                if fault.path and not re.search(fault.path, path):
                    continue
                if counted[1] < fault.skip:
                    counted[1] += 1
                    continue
                if fault.kind != "partial" and fault.share is not None and self._random.random() >= fault.share:
                    continue
                counted[0] += 1
                return fault
        return None

    def listing(self) -> list[dict[str, Any]]:
        """Every fault with how often it was met and how often it still will be (None: until deleted)."""
        with self._lock:
            return [
                {
                    **fault.model_dump(mode="json"),
                    "met": counted[0],
                    "left": None if fault.count is None else fault.count - counted[0],
                }
                for fault, counted in self._faults
            ]
