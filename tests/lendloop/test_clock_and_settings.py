from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lendloop.clock import parse_clock, resolve_clock
from lendloop.errors import ConfigurationError, TransientError
from lendloop.settings import load_settings

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_a_plain_date_is_the_business_date_of_every_market() -> None:
    clock = parse_clock("1998-12-31")
    assert clock.business_date("Africa/Lagos") == clock.business_date("America/Sao_Paulo") == date(1998, 12, 31)
    assert clock.as_of == datetime(1998, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_an_instant_has_the_business_date_of_each_time_zone() -> None:
    clock = parse_clock("2026-07-01T01:30:00Z")
    assert clock.business_date("Africa/Lagos") == date(2026, 7, 1)
    assert clock.business_date("America/Sao_Paulo") == date(2026, 6, 30)


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "31.12.1998", "2026-07-01T25:00"])
def test_what_is_no_time_is_a_configuration_error_that_says_what_would_be(text: str) -> None:
    with pytest.raises(ConfigurationError, match="give a date"):
        parse_clock(text)


@pytest.fixture
def clock_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"as_of": "2026-06-30T18:00:00Z"}).encode())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/clock"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_asked_for_the_time(clock_server: str) -> None:
    assert resolve_clock(clock_server).as_of == datetime(2026, 6, 30, 18, tzinfo=UTC)


def test_a_clock_that_does_not_answer_is_named() -> None:
    with pytest.raises(TransientError, match="is the sandbox running"):
        resolve_clock("http://127.0.0.1:9/clock")


def test_an_unknown_environment_is_an_error_that_lists_the_known(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("LENDLOOP_ENV", "staging")
    with pytest.raises(ConfigurationError, match=r"LENDLOOP_ENV='staging'.*'local' or 'prod'"):
        load_settings()


def test_missing_secrets_are_named_all_at_once_and_only_when_asked_for() -> None:
    settings = load_settings()
    with pytest.raises(ConfigurationError, match="LENDLOOP_CRM_URL, LENDLOOP_CRM_TOKEN"):
        settings.require("crm_url", "crm_token")


def test_the_identifier_key_is_made_once_in_local_and_demanded_in_prod(clean_environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert settings.identifier_key() == settings.identifier_key()
    assert (settings.home.secrets / "hash.key").stat().st_mode & 0o777 == 0o600
    clean_environment.setenv("LENDLOOP_ENV", "prod")
    with pytest.raises(ConfigurationError, match="LENDLOOP_HASH_KEY"):
        load_settings().identifier_key()


def test_secrets_do_not_show_when_settings_are_printed(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("LENDLOOP_CRM_TOKEN", "pat-very-secret")
    clean_environment.setenv("LENDLOOP_LEDGER_URL", "postgresql://u:very-secret@h/db")
    assert "very-secret" not in repr(load_settings())
