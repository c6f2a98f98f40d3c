"""`python -m sandbox serve|tick`: the sandbox from a command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import orjson
import typer

from lendloop.errors import ConfigurationError, LendloopError
from lendloop.home import CHECKOUT, Home
from sandbox import serve as serving

app = typer.Typer(add_completion=False, no_args_is_help=True, help="A pretend lender and stand-ins of its vendors.")

Folder = Annotated[Path | None, typer.Option(help="Where the sandbox keeps itself; default: LENDLOOP_HOME/sandbox.")]


def default_folder() -> Path:
    """`sandbox` under LENDLOOP_HOME."""
    return Home(Path(os.environ.get("LENDLOOP_HOME") or CHECKOUT / "data").expanduser().resolve()).sandbox


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@app.command()
def serve(
    customers: Annotated[int, typer.Option(min=1, help="People in the world.")] = 20_000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same world.")] = 7,
    years: Annotated[
        int | None, typer.Option(min=1, help="Years of history before the first day; default: 1, of a large lender 4.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    ledger_url: Annotated[str | None, typer.Option(help="SQLAlchemy URL of the ledger; default: SQLite.")] = None,
    folder: Folder = None,
    real_limits: Annotated[bool, typer.Option(help="The vendors' own rate limits, not twenty times theirs.")] = False,
) -> None:
    """Print one line of JSON with the settings that point lendloop at the sandbox, then serve until stopped."""
    options = serving.Options(
        folder=folder or default_folder(),
        customers=customers,
        seed=seed,
        years=years,
        port=port,
        ledger_url=ledger_url,
        real_limits=real_limits,
    )
    serving.serve(options, _say)


@app.command()
def tick(days: Annotated[int, typer.Option(min=1, help="Days to move on.")] = 1, folder: Folder = None) -> None:
    """Move the running sandbox's clock on; the systems change as days pass."""
    _say(orjson.dumps(serving.tick_server(folder or default_folder(), days)).decode())


def main() -> None:
    """Run a command; an expected failure is one line on stderr and status 2 (wrong use) or 1."""
    try:
        app()
    except LendloopError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2 if isinstance(error, ConfigurationError) else 1)


if __name__ == "__main__":
    main()
