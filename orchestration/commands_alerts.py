"""`lendloop alerts`: what is open, and what people do about it. Each command is a call of `activation.alerts` and its picture."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lendloop.errors import ConfigurationError, PermanentError

if TYPE_CHECKING:
    from lendloop.settings import Settings

app = typer.Typer(invoke_without_command=True, help="Alerts: what is open, who looks after it, what is to be quiet.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")]
Number = Annotated[int, typer.Argument(help="An alert's number, as `lendloop alerts` lists it.")]
By = Annotated[str, typer.Option("--by", help="Who does it.")]
Note = Annotated[str | None, typer.Option(help="What those who see the alert should know.")]
Hours = Annotated[float, typer.Option(min=0.1, help="For how long, by the business clock.")]


@app.callback()
def listed(context: typer.Context, as_json: Json = False) -> None:
    """Every alert that is not resolved, the worst first."""
    if context.invoked_subcommand:
        return
    from activation.alerts import alert_status
    from lendloop.settings import load_settings
    from orchestration.screen import show_alerts

    show_alerts(alert_status(load_settings()), as_json=as_json)


@app.command()
def acknowledge(number: Number, by: By, note: Note = None) -> None:
    """Take an alert on: nobody is reminded of it, unless it gets worse."""
    from activation.alerts import acknowledge_alert
    from lendloop.settings import load_settings

    settings = load_settings()
    acknowledge_alert(settings, number, **_known(settings, number, by), note=note)
    typer.echo(f"alert {number} is acknowledged by {by}; the next pass says so where it was told")


@app.command()
def snooze(number: Number, hours: Hours, by: By, note: Note = None) -> None:
    """Be quiet about an alert for some hours, unless it gets worse."""
    from activation.alerts import snooze_alert
    from lendloop.settings import load_settings

    settings = load_settings()
    known = _known(settings, number, by)
    until = known["clock"].as_of + timedelta(hours=hours)
    snooze_alert(settings, number, **known, until=until, note=note)
    typer.echo(f"alert {number} is snoozed until {until:%Y-%m-%d %H:%M} UTC")


@app.command()
def silence(
    rule: Annotated[str, typer.Argument(help="A rule's name, or `pipeline` for failures of the machinery.")],
    hours: Hours,
    by: By,
    because: Annotated[str, typer.Option("--because", help="Why, in words.")],
) -> None:
    """Tell nobody of a rule for some hours; that something is over is still told."""
    from activation.alerts import silence_rule
    from activation.rules import load_rules
    from lendloop.settings import load_settings

    settings = load_settings()
    names = [*(one.rule for one in load_rules(settings.definitions)), "pipeline"]
    if rule not in names:
        raise ConfigurationError(f"unknown rule {rule!r}: one of {', '.join(names)}")
    _require(by, because)
    clock = settings.clock()
    until = clock.as_of + timedelta(hours=hours)
    silence_rule(settings, rule, until=until, actor=by, comment=because, clock=clock)
    typer.echo(f"{rule} is silent until {until:%Y-%m-%d %H:%M} UTC")


@app.command()
def resend(by: By) -> None:
    """Plan every message that was given up again, once its cause is mended; the next pass sends it."""
    from activation.alerts import resend_failed
    from lendloop.settings import load_settings

    _require(by)
    settings = load_settings()
    count = resend_failed(settings, actor=by, clock=settings.clock())
    typer.echo(f"{count} {'message is' if count == 1 else 'messages are'} planned again")


def _known(settings: Settings, number: int, by: str) -> dict[str, Any]:
    """What changing an alert asks for beside what is done to it. Raises PermanentError for a number that is none."""
    from activation.alerts import alert_status, load_routes
    from activation.rules import load_rules

    _require(by)
    version = next((alert["version"] for alert in alert_status(settings) if alert["id"] == number), None)
    if version is None:
        raise PermanentError(f"there is no alert {number}: `lendloop alerts` lists those that are open")
    return {
        "expected_version": version,
        "actor": by,
        "clock": settings.clock(),
        "rules": load_rules(settings.definitions),
        "routes": load_routes(settings.definitions),
    }


def _require(*words: str) -> None:
    if not all(word.strip() for word in words):
        raise ConfigurationError("what people do to alerts says who (--by) and, of a silence, why (--because)")
