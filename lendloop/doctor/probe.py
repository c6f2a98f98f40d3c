"""One authenticated request to a vendor, bounded, and by how much its clock differs from ours."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from lendloop.doctor.findings import Finding, State
from lendloop.errors import TransientError

REQUEST_TIMEOUT_S = 8.0
SKEW_WARNING_S, SKEW_FAILURE_S = 60.0, 600.0


@dataclass(frozen=True)
class Answer:
    """A complete answer: `body` is parsed JSON or None, `skew_s` how far our clock is ahead, None where none is told."""

    status: int
    body: Any
    headers: httpx.Headers
    latency_s: float
    skew_s: float | None


def probe(
    method: str, url: str, *, headers: dict[str, str] | None = None, auth: tuple[str, str] | None = None
) -> Answer:
    """Raises TransientError when there is no answer, without repeating any secret."""
    began = time.monotonic()
    try:
        with httpx.Client(timeout=REQUEST_TIMEOUT_S, headers=headers, auth=auth) as client:
            answer = client.request(method, url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise TransientError(f"no answer ({type(error).__name__}: {error})") from error
    try:
        body = answer.json()
    except ValueError:
        body = None
    told = answer.headers.get("date")
    skew_s = (datetime.now(UTC) - parsedate_to_datetime(told)).total_seconds() if told else None
    return Answer(answer.status_code, body, answer.headers, time.monotonic() - began, skew_s)


def skew_of(name: str, skew_s: float | None) -> list[Finding]:
    """A finding when our clock and another one differ by more than a minute; none when they agree."""
    if skew_s is None or abs(skew_s) < SKEW_WARNING_S:
        return []
    state: State = "failure" if abs(skew_s) >= SKEW_FAILURE_S else "warning"
    way = "ahead of" if skew_s > 0 else "behind"
    return [
        Finding(
            check=f"clock of {name}",
            state=state,
            found=f"this machine is {abs(skew_s):.0f} s {way} {name}",
            advice="set the machine's clock (NTP): signatures, cursors and rate limits rest on it",
        )
    ]
