"""Calls to vendors' HTTP APIs: bounded in time, repeated where that can help, failures in our classes.

429 (waiting as `Retry-After` says), 5xx, no answer, one that is cut off, too slow or no JSON are tried again, a bounded
number of times. Calls run in a thread of their own, so that the next page is under way while the last one is worked on.
What belongs here is the same for every vendor.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson

from ingestion.answers import read_answer
from lendloop.errors import ConfigurationError, LendloopError, PermanentError, TransientError

ATTEMPTS = 5
ANSWER_S = 120.0
"""The longest that one answer may take from connecting to its last byte, however it trickles in."""
CONNECT_S = 10.0
LARGEST_ANSWER = 1 << 29
"""Bytes, unpacked. A page of any vendor has a hundredth."""
BACKOFF_S = 1.0
"""The first wait before a repetition; each further one is twice as long."""
LONGEST_WAIT_S = 120.0
"""Never waits longer for one repetition, whatever `Retry-After` says."""

Body = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """One call: `params` of the query, or `body` of a POST. `rows` names the list in the answer whose rows may be bad."""

    path: str
    params: dict[str, Any] | None = None
    body: dict[str, Any] | None = None
    rows: str | None = None


class RefusedError(PermanentError):
    """The vendor refused a request for good: `status` and `text` are its own."""

    def __init__(self, message: str, status: int, text: str) -> None:
        super().__init__(message)
        self.status = status
        self.text = text


class VendorApi:
    """One vendor's API. `settings_named` are the variables that a refusal (401, 403) points at."""

    def __init__(
        self,
        base_url: str,
        *,
        vendor: str,
        settings_named: str,
        auth: tuple[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.vendor = vendor
        self.settings_named = settings_named
        self._headers = {**(headers or {}), **({"Authorization": aiohttp.encode_basic_auth(*auth)} if auth else {})}
        self._session: aiohttp.ClientSession | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"calls to {vendor}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Give up what is under way, and end the thread."""
        self._run(self._end()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def call(self, request: Request) -> Body:
        """The JSON object that a request answers.

        Raises ConfigurationError (401, 403), TransientError (429, 5xx, no whole answer in time), RefusedError.
        """
        answer: Body = self._run(self._answer(request)).result()
        return answer

    def pages(self, first: Request, following: Callable[[Body], Request | None]) -> Iterator[Body]:
        """The answers of requests that lead from one to the next; each is asked for while the one before is worked on.

        A page that leads to where it came from is asked for again; a listing that stands still is a TransientError.
        """
        request: Request | None = first
        underway = self._run(self._answer(first))
        asked = {_place(first)}
        repeated = 0
        try:
            while request is not None:
                page = underway.result()
                request = following(page)
                if request is not None:
                    if _place(request) in asked:
                        repeated += 1
                        if repeated == ATTEMPTS:
                            raise TransientError(
                                f"{self._where(request)} gives the same page again and again: try again later"
                            )
                    asked.add(_place(request))
                    underway = self._run(self._answer(request))
                yield page
        finally:
            underway.cancel()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _where(self, request: Request) -> str:
        return f"{self.vendor} at {self.base_url}/{request.path}"

    async def _answer(self, request: Request) -> Body:
        where, wait_s, why = self._where(request), None, ""
        for number in range(ATTEMPTS):
            if number:
                await asyncio.sleep(min(BACKOFF_S * 2 ** (number - 1) if wait_s is None else wait_s, LONGEST_WAIT_S))
            wait_s = None
            try:
                status, headers, content = await self._exchange(request)
            except TimeoutError:
                why = f"gave no whole answer in {ANSWER_S:g} s"
                continue
            except aiohttp.ClientError as error:
                why = f"gave no whole answer ({type(error).__name__}: {str(error) or 'closed'})"
                continue
            if status == 429 or status >= 500:
                wait_s = retry_after_s(headers)
                why = f"answered {status}"
                if limit := _used_up(content):
                    raise TransientError(f"{where} answered {status}: the {limit} limit is used up; try again tomorrow")
                continue
            if status >= 300:
                raise self._refusal(where, status, content)
            try:
                body = read_answer(content, request.rows)
            except ValueError:
                kind = headers.get("Content-Type", "no type").split(";")[0]
                why = f"answered {status} with something that is no JSON ({kind})"
                continue
            if not isinstance(body, dict):
                raise PermanentError(f"{where} answered no JSON object: is {self._address()} right?")
            return body
        raise TransientError(f"{where} {why}, {ATTEMPTS} times: try again later", retry_after_s=wait_s)

    async def _exchange(self, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and the whole content. Redirects are not followed: secrets go where the settings say only."""
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, trust_env=True)
        body = None if request.body is None else orjson.dumps(request.body)
        content = bytearray()
        async with self._session.request(
            "GET" if body is None else "POST",
            f"{self.base_url}/{request.path}",
            params=request.params,
            data=body,
            headers=None if body is None else {"Content-Type": "application/json"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S),
        ) as response:
            async for part in response.content.iter_any():
                content += part
                if len(content) > LARGEST_ANSWER:
                    raise PermanentError(f"{self._where(request)} answered more than {LARGEST_ANSWER >> 20} MB at once")
            return response.status, response.headers, bytes(content)

    def _refusal(self, where: str, status: int, content: bytes) -> LendloopError:
        if status in (401, 403):
            return ConfigurationError(f"{where} refused the credentials ({status}): check {self.settings_named}")
        text = content[:300].decode("utf-8", "replace")
        return RefusedError(f"{where} answered {status}: {text}", status, text)

    def _address(self) -> str:
        return next((name for name in self.settings_named.split(", ") if name.endswith("_URL")), self.settings_named)


def _place(request: Request) -> str:
    return f"{request.params}{request.body}"


def _used_up(content: bytes) -> str:
    """HubSpot's daily limit starts anew at midnight of the account's time zone: waiting for seconds is of no use."""
    return "daily" if b'"policyName":"DAILY"' in content.replace(b" ", b"") else ""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait: as a number, or as a date, which counts from the vendor's own clock (its `Date`), not ours."""
    text = headers.get("Retry-After", "").strip()
    if text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
        now = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return float(max(0.0, (until - now).total_seconds()))
    except (ValueError, TypeError):
        return None
