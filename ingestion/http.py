"""Calls to vendors' HTTP APIs: dlt's REST client with its retries, and its failures in our classes.

429 (waiting as `Retry-After` says), 5xx, timeouts and dropped connections are tried again, a bounded number of
times. What belongs here is the same for every vendor.
"""

from __future__ import annotations

from typing import Any

from ingestion.pipeline import dlt_for
from lendloop.errors import ConfigurationError, PermanentError, TransientError
from lendloop.home import Home

ATTEMPTS = 5
TIMEOUT_S = 60
LONGEST_WAIT_S = 120
"""Never waits longer for one retry, whatever `Retry-After` says."""


class VendorApi:
    """One vendor's API. `settings_named` are the variables that a refusal (401, 403) points at."""

    def __init__(self, home: Home, base_url: str, auth: Any, *, vendor: str, settings_named: str) -> None:
        dlt_for(home)
        from dlt.sources.helpers.requests import Client
        from dlt.sources.helpers.rest_client import RESTClient

        retrying = Client(
            request_timeout=TIMEOUT_S,
            raise_for_status=False,
            request_max_attempts=ATTEMPTS,
            request_max_retry_delay=LONGEST_WAIT_S,
        )
        self.base_url = base_url.rstrip("/")
        self.vendor = vendor
        self.settings_named = settings_named
        self.client = RESTClient(self.base_url, auth=auth, session=retrying.session)

    def close(self) -> None:
        self.client.session.close()

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The JSON object that a GET answers."""
        return self._call("GET", path, params=params)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON object that a POST answers."""
        return self._call("POST", path, json=body)

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Raises ConfigurationError (401, 403), TransientError (429, 5xx, no answer, cut off), PermanentError."""
        import requests

        where = f"{self.vendor} at {self.base_url}/{path}"
        try:
            answer = self.client.request(path, method=method, **arguments)
            status = answer.status_code
            if status in (401, 403):
                raise ConfigurationError(f"{where} refused the credentials ({status}): check {self.settings_named}")
            if status == 429 or status >= 500:
                wait = answer.headers.get("Retry-After", "")
                raise TransientError(
                    f"{where} answered {status} {ATTEMPTS} times: try again later",
                    retry_after_s=float(wait) if wait.isdigit() else None,
                )
            if status >= 400:
                raise PermanentError(f"{where} answered {status}: {answer.text[:300]}")
            body = answer.json()
        except requests.exceptions.JSONDecodeError as error:
            raise TransientError(f"{where} answered something that is no JSON") from error
        except requests.exceptions.RequestException as error:
            raise TransientError(f"{where} did not answer: {type(error).__name__}: {error}") from error
        if not isinstance(body, dict):
            raise PermanentError(f"{where} answered no JSON object: is {self.settings_named.split(',')[0]} right?")
        return body
