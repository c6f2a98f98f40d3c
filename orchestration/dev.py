"""`lendloop dev`: sandbox, Dagster UI and daemon together, until one of them ends or Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from lendloop.errors import PermanentError
from lendloop.home import CHECKOUT
from lendloop.publish import read_catalog
from lendloop.settings import SOURCES, load_settings
from orchestration.instance import prepare_dagster_home
from orchestration.run import run_pass
from orchestration.sandbox_process import sandbox_server, use_settings
from orchestration.screen import console, note, show_report
from orchestration.site import renew_site, served_site

HOST = "127.0.0.1"
STOP_TIMEOUT_S = 20.0


def run_dev(port: int, customers: int) -> int:
    """Serve until stopped. Uses the configured systems, or the sandbox where no source is configured.

    Raises PermanentError when the UI or the daemon ends by itself.
    """
    settings = load_settings()
    with ExitStack() as stack:
        page = None
        if not any(settings.is_configured(source) for source in SOURCES):
            note(f"no source is configured: starting the sandbox with {customers:,} customers")
            sandbox = stack.enter_context(sandbox_server(settings.home.prepare().sandbox, customers))
            use_settings(sandbox)
            settings, page = load_settings(), sandbox["base_url"]
        if read_catalog(settings.home).version == 0:
            note("nothing is published yet: running the first pass")
            show_report(run_pass(settings, note), as_json=False)
        renew_site(settings)
        site = stack.enter_context(served_site(settings.home.site, HOST))
        os.environ.setdefault("LENDLOOP_SITE_URL", site)
        prepare_dagster_home(settings)
        workspace = str(CHECKOUT / "workspace.yaml")
        processes = [
            _start(stack, "dagster-webserver", "-h", HOST, "-p", str(port), "-w", workspace),
            _start(stack, "dagster-daemon", "run", "-w", workspace),
        ]
        console.print(f"\n[bold]Dagster UI[/]  http://{HOST}:{port}")
        console.print(f"[bold]Dictionary, KPIs, lineage[/] {site}   (anew with each pass that changes something)")
        if page:
            console.print(f"[bold]What arrived[/] {page}   (move the lender's clock: lendloop sandbox tick --days 1)")
        console.print(
            "Sensors and the schedule are off in `local`: switch them on in the UI under Automation. Ctrl-C ends all.\n"
        )
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        try:
            while all(process.poll() is None for process in processes):
                time.sleep(0.5)
        except KeyboardInterrupt:
            return 0
        raise PermanentError("the Dagster UI or its daemon ended by itself; its last lines are above")


def _start(stack: ExitStack, name: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A child in a session of its own (it then gets signals only from here), ended with the stack."""
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name(name)), *arguments],
        cwd=CHECKOUT,
        start_new_session=True,
        env=os.environ.copy(),
    )
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
