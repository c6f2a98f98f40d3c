"""`lendloop demo`: a pretend lender, a pass, a day later another, and where to look at the outcome."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from lendloop.settings import Settings, load_settings
from orchestration.run import run_pass
from orchestration.sandbox_process import call, sandbox_server, use_settings
from orchestration.screen import console, note, show_report


def run_demo(customers: int, *, as_json: bool) -> int:
    """Returns the exit status: 1 when a part of either pass failed, named on the screen."""
    home = load_settings().home.prepare()
    note(f"starting a pretend lender of {customers:,} customers (made once, kept in {home.sandbox})")
    with sandbox_server(home.sandbox, customers) as sandbox:
        use_settings(sandbox)
        first = run_pass(load_settings(), note)
        if not as_json:
            show_report(first, as_json=False)
        moved = call(sandbox["base_url"], "/tick", {"days": 1})
        note(f"a day passes at the lender: it is now {moved['as_of']}")
        second = run_pass(load_settings(), note)
        show_report(second, as_json=as_json)
        page = _save_page(load_settings(), sandbox["base_url"])
    if not as_json:
        console.print(
            f"\n[bold]See for yourself[/]\n  what Slack, marketing and the mail box received: {page}"
            f"\n  what each number means, and the KPIs: {home.site / 'index.html'}"
            f"\n  the agreed numbers: {home.published} (any DuckDB client, read-only; schemas trusted and kpi)"
            f"\n  audiences as files: {home.exports}"
            f"\n  any command as of the lender's day: LENDLOOP_AS_OF={moved['as_of'][:10]} .venv/bin/lendloop kpi"
            "\n  the Dagster UI with all of this: make dev\n"
        )
    return 1 if first.failures or second.failures else 0


def _save_page(settings: Settings, base_url: str) -> Path:
    path = settings.home.root / "demo.html"
    with urllib.request.urlopen(base_url + "/", timeout=60) as answer:  # noqa: S310
        path.write_bytes(answer.read())
    return path
