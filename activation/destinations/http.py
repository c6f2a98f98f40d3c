"""HTTP as every vendor needs it: bounded, paced, repeated when that can help, read to the end.

Belongs here: one request with its retries. Not here: what an answer means for a row.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson

from activation.destinations.contract import Contract
from activation.destinations.rates import RateBudget, Sleep
from lendloop.errors import LendloopError

_log = logging.getLogger(__name__)
_JSON = {"Content-Type": "application/json"}
_TIMEOUT = aiohttp.ClientTimeout(total=60.0, sock_connect=10.0)


class UnansweredError(LendloopError):
    """No usable answer after every try. `taken`: False when the vendor surely did not take the request."""

    def __init__(self, message: str, *, taken: bool | None) -> None:
        super().__init__(message)
        self.taken = taken


class Answer(NamedTuple):
    """A complete answer. `body` is parsed JSON, None when it was no JSON."""

    status: int
    body: Any
    request_id: str | None


class VendorClient:
    """Calls to one vendor within its contract. `requests` counts those that went out, retries too."""

    def __init__(
        self,
        contract: Contract,
        base_url: str,
        budget: RateBudget,
        *,
        auth: tuple[str, str] | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._contract = contract
        self._base_url = base_url.rstrip("/")
        self._budget = budget
        self._sleep = sleep
        self._headers = _JSON | ({"Authorization": aiohttp.encode_basic_auth(*auth)} if auth else {})
        self._session: aiohttp.ClientSession | None = None
        self.requests = 0

    async def call(self, endpoint: str, method: str, path: str, body: bytes | None = None) -> Answer:
        """Send a request, with `body` as its JSON, again after the contract's waits while that can help.

        Returns the answer, whatever its status, once retrying is over for statuses that are not in
        `retry_statuses`. Raises UnansweredError otherwise.
        """
        taken: bool | None = False
        why = ""
        retry_after: str | None = None
        for number in range(len(self._contract.backoff_s) + 1):
            if number:
                await self._sleep(self._wait_s(number, retry_after))
            retry_after = None
            await self._budget.take(endpoint, self._contract.calls_per_s[endpoint])
            self.requests += 1
            try:
                status, headers, content = await self._request(method, path, body)
            except aiohttp.ClientConnectorError as error:
                why = f"no connection ({_text(error)})"
                continue
            except (aiohttp.ClientError, TimeoutError) as error:
                taken, why = None, f"the answer did not arrive whole ({_text(error)})"
                continue
            request_id = headers.get("x-request-id")
            if status not in self._contract.retry_statuses:
                try:
                    return Answer(status, orjson.loads(content), request_id)
                except orjson.JSONDecodeError:
                    if status >= 300:
                        return Answer(status, None, request_id)
                    taken, why = None, f"{status} without JSON"
                    continue
            if status >= 500:
                taken = None
            why = self._contract.error_map.get(status, f"status {status}")
            if self._contract.retry_after_header:
                retry_after = headers.get(self._contract.retry_after_header)
            _log.info("%s %s: %s, request id %s", self._contract.name, path, why, request_id)
        raise UnansweredError(
            f"{self._contract.name} {path}: {why}, after {len(self._contract.backoff_s) + 1} tries", taken=taken
        )

    async def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and the whole content. Redirects are not followed: a body goes where the settings say only."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._contract.concurrency)
            self._session = aiohttp.ClientSession(
                connector=connector, headers=self._headers, timeout=_TIMEOUT, proxy=_proxy(self._base_url)
            )
        async with self._session.request(method, self._base_url + path, data=body, allow_redirects=False) as response:
            return response.status, response.headers, await response.read()

    def _wait_s(self, number: int, retry_after: str | None) -> float:
        try:
            return min(300.0, float(retry_after)) if retry_after else self._contract.backoff_s[number - 1]
        except ValueError:
            return self._contract.backoff_s[number - 1]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _proxy(base_url: str) -> str | None:
    """The proxy that the environment names for this vendor. Asked once: aiohttp would ask for every call."""
    url = urlsplit(base_url)
    return None if proxy_bypass(url.hostname or "") else getproxies().get(url.scheme)


def _text(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
