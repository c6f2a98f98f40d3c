"""Starting the sandbox: everything on one port, and mail on another.

`running` serves in a background thread for tests and tools; `serve` is the command. A server leaves
`server.json` in its folder while it runs, so that `tick` finds it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import uvicorn

from lendloop.errors import ConfigurationError, TransientError
from sandbox.app import SandboxApp
from sandbox.arrivals import Arrivals
from sandbox.blueshift import Blueshift
from sandbox.faults import Fault, FaultBook
from sandbox.hubspot import HubSpot
from sandbox.lender import Lender
from sandbox.limits import RateLimiter, limits_in_force
from sandbox.mail import MailSink
from sandbox.misbehave import SandboxProtocol
from sandbox.skew import SkewableLender
from sandbox.slack import ALERT_CHANNEL, Slack
from sandbox.zendesk import Zendesk

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0
TICK_TIMEOUT_S = 600.0

CRM_TOKEN = "pat-sandbox-crm"  # noqa: S105
SUPPORT_USER, SUPPORT_TOKEN = "hub@lender.example", "sandbox-support"
BLUESHIFT_KEY = "sandbox-blueshift"
SLACK_TOKEN = "xoxb-sandbox"  # noqa: S105
ALERT_EMAIL = "data-platform@lender.example"


@dataclass(frozen=True)
class Options:
    """What a sandbox is started with. `port` and `smtp_port` 0 mean any free one."""

    folder: Path
    customers: int = 20_000
    seed: int = 7
    years: int | None = None
    """Of history; None: as the lender's size has it."""
    port: int = 0
    smtp_port: int = 0
    ledger_url: str | None = None
    real_limits: bool = False


@dataclass
class Running:
    """A sandbox that serves. `settings` are the LENDLOOP_* variables that point a hub at it."""

    base_url: str
    settings: dict[str, str]
    lender: Lender
    arrivals: Arrivals
    faults: FaultBook
    stop: Callable[[], None] = field(repr=False)

    def add_fault(self, **fault: Any) -> None:
        """The same as `POST /faults`."""
        self.faults.add(Fault.model_validate(fault))


def open_lender(options: Options) -> Lender:
    """The pretend lender of a folder, made on first use."""
    from sandbox.world import World

    world = World.open(
        options.folder,
        customers=options.customers,
        seed=options.seed,
        years=options.years,
        ledger_url=options.ledger_url,
    )
    return cast(Lender, world)


@contextmanager
def running(options: Options, lender: Lender | None = None) -> Iterator[Running]:
    """Serve on free ports in a background thread while inside.

    Without `lender` the folder's own world is opened. Raises ConfigurationError when a port is taken.
    """
    sandbox = _Server(options, lender or open_lender(options))
    thread = threading.Thread(target=sandbox.run, name="sandbox", daemon=True)
    thread.start()
    try:
        yield sandbox.wait_until_ready()
    finally:
        sandbox.stop()
        thread.join(START_TIMEOUT_S)


def serve(options: Options, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. `announce` is given one line of JSON once everything answers.

    Raises ConfigurationError when a port is taken or another sandbox serves the folder.
    """
    if (other := find_server(options.folder)) is not None:
        raise ConfigurationError(f"a sandbox already serves {options.folder} at {other}: stop it or use --folder")
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    with running(options) as sandbox:
        announce(json.dumps({**sandbox.settings, "base_url": sandbox.base_url}))
        stopped.wait()


def find_server(folder: Path) -> str | None:
    """The base URL of the sandbox that serves a folder, None when none answers."""
    try:
        base_url = str(json.loads((folder / "server.json").read_text())["base_url"])
        httpx.get(f"{base_url}/clock", timeout=10).raise_for_status()
    except (OSError, ValueError, KeyError, httpx.HTTPError):
        return None
    return base_url


def tick_server(folder: Path, days: int) -> dict[str, Any]:
    """Ask the folder's server to move its clock on.

    Raises ConfigurationError when none runs, TransientError when it does not do it.
    """
    base_url = find_server(folder)
    if base_url is None:
        raise ConfigurationError(f"no sandbox serves {folder}: start one with `lendloop sandbox serve`")
    try:
        answer = httpx.post(f"{base_url}/tick", json={"days": days}, timeout=TICK_TIMEOUT_S)
        body = dict(answer.json())
    except (httpx.HTTPError, ValueError) as error:
        raise TransientError(f"the sandbox at {base_url} did not answer the tick: {error}") from error
    if answer.is_error:
        raise ConfigurationError(f"the sandbox refused to tick: {body.get('error', answer.status_code)}")
    return body


class _Server:
    """uvicorn and the mail sink on one loop, in the thread that calls `run`."""

    def __init__(self, options: Options, lender: Lender) -> None:
        self._options, self._lender = options, lender
        self._socket = _listen(options.port)
        self.base_url = f"http://{HOST}:{self._socket.getsockname()[1]}"
        self._arrivals = Arrivals(options.folder / "arrivals.sqlite", lambda: lender.as_of)
        self._faults = FaultBook(options.seed)
        self._limiter = RateLimiter(limits_in_force(real=options.real_limits))
        seen = SkewableLender(lender)
        self._app = SandboxApp(
            lender,
            self._arrivals,
            self._faults,
            self._limiter,
            [
                HubSpot(seen, self._arrivals, self._limiter, CRM_TOKEN),
                Zendesk(seen, self._arrivals, self._limiter, SUPPORT_USER, SUPPORT_TOKEN),
                Blueshift(self._arrivals, self._limiter, BLUESHIFT_KEY, options.seed),
                Slack(self._arrivals, self._limiter, SLACK_TOKEN),
            ],
        )
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(
                self._app.asgi,
                http=SandboxProtocol,
                loop="asyncio",
                date_header=False,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                timeout_keep_alive=75,
                timeout_graceful_shutdown=2,
            )
        )
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._smtp_port = 0

    def run(self) -> None:
        try:
            asyncio.run(self._main())
        except (OSError, RuntimeError) as error:
            self._failure = error
        finally:
            self._ready.set()
            self._socket.close()
            self._arrivals.close()

    async def _main(self) -> None:
        logging.getLogger("mail.log").setLevel(logging.ERROR)
        sink = MailSink(self._arrivals, self._faults, self._options.seed)
        mail_server = await sink.start(HOST, self._options.smtp_port)
        self._smtp_port = mail_server.sockets[0].getsockname()[1]
        note = self._options.folder / "server.json"
        watcher = asyncio.create_task(self._announce(note))
        try:
            await self._uvicorn.serve(sockets=[self._socket])
        finally:
            watcher.cancel()
            mail_server.close()
            note.unlink(missing_ok=True)

    async def _announce(self, note: Path) -> None:
        while not self._uvicorn.started:
            await asyncio.sleep(0.005)
        body = {"pid": os.getpid(), "base_url": self.base_url, "settings": self._settings()}
        draft = note.with_suffix(".tmp")
        draft.write_text(json.dumps(body, indent=1))
        os.replace(draft, note)
        self._ready.set()

    def _settings(self) -> dict[str, str]:
        costs, surveys = (getattr(self._lender, name, None) for name in ("costs_file", "survey_folder"))
        return {
            **({"LENDLOOP_COSTS_FILE": str(costs)} if costs else {}),
            **({"LENDLOOP_SURVEY_FOLDER": str(surveys)} if surveys else {}),
            "LENDLOOP_AS_OF": f"{self.base_url}/clock",
            "LENDLOOP_LEDGER_URL": self._lender.ledger_url,
            "LENDLOOP_CRM_URL": f"{self.base_url}/hubspot",
            "LENDLOOP_CRM_TOKEN": CRM_TOKEN,
            "LENDLOOP_SUPPORT_URL": f"{self.base_url}/zendesk",
            "LENDLOOP_SUPPORT_USER": SUPPORT_USER,
            "LENDLOOP_SUPPORT_TOKEN": SUPPORT_TOKEN,
            "LENDLOOP_BLUESHIFT_URL": f"{self.base_url}/blueshift",
            "LENDLOOP_BLUESHIFT_KEY": BLUESHIFT_KEY,
            "LENDLOOP_SLACK_URL": f"{self.base_url}/slack/api/",
            "LENDLOOP_SLACK_TOKEN": SLACK_TOKEN,
            "LENDLOOP_SLACK_CHANNEL": ALERT_CHANNEL,
            "LENDLOOP_SMTP_URL": f"smtp://{HOST}:{self._smtp_port}",
            "LENDLOOP_ALERT_EMAIL": ALERT_EMAIL,
        }

    def wait_until_ready(self) -> Running:
        self._ready.wait(START_TIMEOUT_S)
        if self._failure is not None or not self._uvicorn.started:
            raise ConfigurationError(f"the sandbox could not start: {self._failure or 'it took too long'}")
        return Running(self.base_url, self._settings(), self._lender, self._arrivals, self._faults, self.stop)

    def stop(self) -> None:
        self._uvicorn.should_exit = True


def _listen(port: int) -> socket.socket:
    """A bound socket. Raises ConfigurationError when the port is taken."""
    # With its protocol named, asyncio sends small answers at once; otherwise each waits 40 ms for an acknowledgement.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(f"port {port} is taken ({error.strerror}): choose another with --port") from error
    return listening
