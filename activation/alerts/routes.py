"""Routes: which messages go to which channel and whom, from `routes.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from activation.alerts.subject import MACHINERY_OWNER
from activation.rules.load import describe, read_yaml
from activation.rules.model import SEVERITIES, Rule, Severity
from lendloop.errors import ConfigurationError

ChannelName = Literal["slack", "email"]


class Receiver(BaseModel):
    """Where a route's messages go. Without `target`: LENDLOOP_SLACK_CHANNEL, LENDLOOP_ALERT_EMAIL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: ChannelName
    target: str | None = Field(default=None, description="A Slack channel or an e-mail address; null: the default one.")
    at_least: Severity = Field(default="info", description="Only alerts that are at least so severe.")
    owners: tuple[str, ...] = Field(default=(), description="Only alerts of these owners; none named: all.")

    @property
    def name(self) -> str:
        return f"{self.channel}:{self.target or 'default'}"

    def takes(self, severity: Severity, owner: str) -> bool:
        """Whether an alert of this severity and owner goes here."""
        return SEVERITIES.index(severity) >= SEVERITIES.index(self.at_least) and (
            not self.owners or owner in self.owners
        )


class Routes(BaseModel):
    """The routes by name, and how messages are delivered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    link_base: str = Field(default="http://127.0.0.1:3000", description="Address of the Dagster UI as people reach it.")
    default: str = Field(default="operations", description="The route of pipeline alerts and of unknown route names.")
    routes: dict[str, tuple[Receiver, ...]] = Field(
        default={"operations": (Receiver(channel="slack"), Receiver(channel="email", at_least="critical"))}
    )
    hold_at_most_hours: int = Field(
        default=72, gt=0, description="A message that could not be sent for longer is given up, visibly."
    )
    slack_interval_s: float = Field(default=1.0, ge=0, description="Seconds between two messages to one Slack channel.")

    @model_validator(mode="after")
    def _has_default(self) -> Routes:
        if self.default not in self.routes:
            raise ValueError(f"default: there is no route called {self.default}")
        if not any(receiver.takes("critical", MACHINERY_OWNER) for receiver in self.routes[self.default]):
            raise ValueError(
                f"default: nobody of {self.default} takes failures of the machinery, which {MACHINERY_OWNER} owns"
            )
        return self

    def receivers(self, names: tuple[str, ...], severity: Severity, owner: str) -> list[Receiver]:
        """Who is told of an alert, each once. An unknown route name goes to the default route."""
        found: dict[str, Receiver] = {}
        for name in names:
            for receiver in self.routes.get(name, self.routes[self.default]):
                if receiver.takes(severity, owner):
                    found.setdefault(receiver.name, receiver)
        return list(found.values())


def load_routes(folder: Path) -> Routes:
    """The routes in `folder/routes.yaml`; without that file one route, `operations`.

    Raises ConfigurationError that names file and field.
    """
    path = folder / "routes.yaml"
    if not path.exists():
        return Routes()
    try:
        return Routes.model_validate(read_yaml(path) or {})
    except ValidationError as error:
        raise ConfigurationError("\n".join(f"{path}: {fault}" for fault in describe(error))) from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}") from None


def check_routes(rules: list[Rule], routes: Routes) -> None:
    """Raise ConfigurationError that names each rule with a route that does not exist, or whose alerts nobody would get."""
    faults = [
        f"rule {rule.rule}: routes: nobody takes alerts of {rule.owner}, however severe"
        for rule in rules
        if not routes.receivers(rule.routes, rule.escalate.severity if rule.escalate else rule.severity, rule.owner)
    ]
    faults += [
        f"rule {rule.rule}: routes: there is no route called {name}; known: {', '.join(sorted(routes.routes))}"
        for rule in rules
        for name in rule.routes
        if name not in routes.routes
    ]
    if faults:
        raise ConfigurationError("\n".join(faults))


def routes_schema() -> dict[str, Any]:
    """The JSON Schema of `routes.yaml`, for editors."""
    schema = Routes.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Routes of lendloop's alerts"}
