"""What a message says: one alert, a group, a digest, the end of it; for Slack as blocks, for mail as text.

Pure. Entities are named by key only; whatever looks like an address or a telephone number is masked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from activation.alerts.machine import Alert
from activation.alerts.subject import MIXED, Subject
from activation.rules.text import fill, mask, number

GROUP_PAGE = 20
LINE_LIMIT = 1000
"""Of what is said of one failure among many."""
HEADER_LIMIT, SECTION_LIMIT, FIELD_LIMIT, BUTTON_LIMIT, BLOCK_LIMIT = 150, 3000, 2000, 75, 50
_EMOJI = {"critical": ":red_circle:", "warning": ":large_orange_circle:", "info": ":large_blue_circle:"}
_OVER, _DIGEST, _REMINDER = ":white_check_mark:", ":clipboard:", ":alarm_clock:"


@dataclass(frozen=True)
class View:
    """An alert with everything that a message about it may say."""

    subject: Subject
    alert: Alert
    entity_key: Mapping[str, Any]
    details: Mapping[str, Any]
    value: Decimal | None
    threshold: Decimal | None
    deviance: Decimal | None
    base: str
    handled_by: str | None = None
    note: str | None = None

    @property
    def label(self) -> str:
        return mask(self.subject.label(self.entity_key, self.details))

    @property
    def known(self) -> dict[str, Any]:
        """What templates may name."""
        style = self.subject.number_format
        numbers = {"value": number(self.value, style), "threshold": number(self.threshold, style)}
        texts = {
            "deviance": number(self.deviance),
            "unit": self.subject.unit,
            "base": self.base,
            "rule": self.subject.rule,
        }
        return {**self.details, **self.entity_key, **numbers, **texts}

    @property
    def summary(self) -> str:
        return mask(fill(self.subject.summary, self.known))

    @property
    def link(self) -> str:
        return fill(self.subject.link, self.known)

    @property
    def deviance_text(self) -> str:
        if self.deviance is None:
            return "no number"
        measured = self.subject.measured
        if self.subject.kind == "pipeline":
            return "once" if self.value == 1 else f"{number(self.value)} times"
        return (
            f"{number(self.deviance.quantize(Decimal('0.01')))} × threshold"
            f" ({measured(self.value, self.known)} against {measured(self.threshold, self.known)})"
        )

    @property
    def urgency(self) -> str:
        """When to start acting: what may be wrong in the machinery waits for the day, what is wrong does not."""
        may_wait = self.subject.kind == "pipeline" and self.alert.severity != "critical"
        return "today" if may_wait else self.subject.urgency

    @property
    def due(self) -> datetime:
        return self.alert.opened_at + timedelta(hours=self.subject.sla_hours)


def alert_message(view: View, *, reminder: bool = False) -> dict[str, Any]:
    """One alert, with everything a person needs to act. Shape: text, blocks, subject, body."""
    subject, alert = view.subject, view.alert
    over = not alert.firing
    emoji = _OVER if over else _REMINDER if reminder else _EMOJI[alert.severity]
    title = f"{'Resolved: ' if over else 'Reminder: ' if reminder else ''}{subject.title}: {view.label}"
    state = alert.state if not alert.snoozed_until else f"snoozed until {_time(alert.snoozed_until)}"
    if alert.resolved_at:
        state = f"resolved at {_time(alert.resolved_at)}"
    if view.handled_by and not over:
        state += f" by {mask(view.handled_by)}"
    facts = {
        "System": subject.system,
        "Entity": view.label,
        "Seen" if subject.kind == "pipeline" else "Deviance": view.deviance_text,
        "Severity": alert.severity,
        "Urgency": view.urgency,
        "Owner": subject.owner,
        "SLA": f"{subject.sla_hours} h, by {_time(view.due)}",
        "State": f"{state}, episode {alert.episode}, open since {_time(alert.opened_at)}",
    }
    blocks: list[dict[str, Any]] = [
        _header(f"{emoji} {title}"),
        _section(_escape(view.summary)),
        {
            "type": "section",
            "fields": [_mrkdwn(f"*{name}*\n{_escape(text)}", FIELD_LIMIT) for name, text in facts.items()],
        },
    ]
    if view.note:
        blocks.append(_section(f"*Note*\n{_escape(mask(view.note))}"))
    if not over:
        blocks.append(
            _section("*What can be done*\n" + "\n".join(f"• {_escape(action)}" for action in subject.actions))
        )
    blocks.append(_button(view.link))
    lines = [view.summary, "", *(f"{name}: {text}" for name, text in facts.items())]
    if view.note:
        lines.append(f"Note: {mask(view.note)}")
    if not over:
        lines += ["", "What can be done:", *(f"- {action}" for action in subject.actions)]
    return _message(title, emoji, blocks, [*lines, "", view.link])


def resolved_message(views: Sequence[View]) -> dict[str, Any]:
    """That one alert, or several of one rule, are over: short."""
    first = views[0]
    if len(views) == 1:
        took = first.alert.resolved_at - first.alert.opened_at if first.alert.resolved_at else timedelta()
        title = f"Resolved: {first.subject.title}: {first.label}"
        text = f"It is over ({_because(first)}) after {_length(took)}. Owner: {first.subject.owner}."
        return _message(title, _OVER, [_header(f"{_OVER} {title}"), _section(_escape(text))], [text, "", first.link])
    title = f"Resolved: {_shared(views)[0]}: {len(views):,} alerts"
    listed = [f"{view.label} ({_because(view)})" for view in views[:GROUP_PAGE]] + _rest(len(views), GROUP_PAGE)
    blocks = [_header(f"{_OVER} {title}"), _section("\n".join(f"• {_escape(line)}" for line in listed))]
    return _message(title, _OVER, blocks, [*listed, "", first.link])


def paginate(views: Sequence[View]) -> list[list[View]]:
    """Pages of a group: at most `GROUP_PAGE` alerts each, and never more text than Slack takes."""
    pages: list[list[View]] = []
    room = 0
    for view in views:
        need = len(_escape(_line(view))) + 3
        if not pages or len(pages[-1]) == GROUP_PAGE or need > room:
            pages.append([])
            room = SECTION_LIMIT - 100
        pages[-1].append(view)
        room -= need
    return pages


def group_message(
    views: Sequence[View], group: Sequence[View], *, page: int, pages: int, reminder: bool = False, unlisted: int = 0
) -> dict[str, Any]:
    """Many alerts of one rule, `group`: counts, the worst, and this page's list. `views` are the page's, worst first."""
    first = views[0]
    subject = first.subject
    called, actions = _shared(group)
    severity = max((view.alert.severity for view in views), key=lambda s: ("info", "warning", "critical").index(s))
    emoji = _REMINDER if reminder else _EMOJI[severity]
    part = f" ({page} of {pages})" if pages > 1 else ""
    title = f"{'Reminder: ' if reminder else ''}{called}: {len(group):,} alerts{part}"
    lines = [_line(view) for view in views]
    if unlisted:
        lines.append(f"and {unlisted:,} more, in the table behind the link")
    worst = {"Worst here" if pages > 1 else "Worst": f"{first.label}, {first.deviance_text}"}
    facts = {
        "System": subject.system,
        **({} if subject.kind == "pipeline" else worst),
        "Severity": severity,
        "Urgency": first.urgency,
        "Owner": subject.owner,
        "SLA": f"{subject.sla_hours} h, by {_time(min(view.due for view in views))}",
    }
    blocks = [
        _header(f"{emoji} {title}"),
        {
            "type": "section",
            "fields": [_mrkdwn(f"*{name}*\n{_escape(text)}", FIELD_LIMIT) for name, text in facts.items()],
        },
        _section("\n".join(f"• {_escape(line)}" for line in lines)),
    ]
    body = [*(f"{name}: {text}" for name, text in facts.items()), "", *(f"- {line}" for line in lines)]
    if page == 1:
        blocks.append(_section("*What can be done*\n" + "\n".join(f"• {_escape(action)}" for action in actions)))
        body += ["", "What can be done:", *(f"- {action}" for action in actions)]
    blocks.append(_button(first.link))
    body += ["", first.link]
    return _message(title, emoji, blocks, body)


def digest_message(by_rule: Sequence[Sequence[View]]) -> dict[str, Any]:
    """What a first load or backfill found, in one message: nothing of it is told one by one."""
    total = sum(len(views) for views in by_rule)
    title = f"Baseline: {total:,} {'alert' if total == 1 else 'alerts'} opened by a first load or backfill"
    intro = "These stood before anybody watched. They are open, and only what is new is told from here on."
    blocks = [_header(f"{_DIGEST} {title}"), _section(intro)]
    body = [intro]
    room = (BLOCK_LIMIT - 3) // 2
    for views in by_rule[:room]:
        first = views[0]
        head = (
            f"{first.subject.title}: {len(views):,} open, owner {first.subject.owner}, SLA {first.subject.sla_hours} h"
        )
        lines = [_line(view) for view in views[:5]] + _rest(len(views), 5)
        listed = "\n".join(f"• {_escape(line)}" for line in lines)
        blocks.append(_section(f"*{_escape(head)}*\n{listed}\n<{first.link}|Look at them>"))
        body += ["", head, *(f"- {line}" for line in lines), first.link]
    if len(by_rule) > room:
        blocks.append(_section(f"and {len(by_rule) - room} more rules"))
    return _message(title, _DIGEST, blocks, body)


def _line(view: View) -> str:
    if view.subject.kind == "pipeline":
        said = _cut(view.summary, LINE_LIMIT)
        return said if view.label in said else f"{view.label}: {said}"
    return f"{view.label}: {view.deviance_text}"


def _shared(views: Sequence[View]) -> tuple[str, tuple[str, ...]]:
    """What alerts of one rule are called together, and what can be done about them."""
    subject = views[0].subject
    if any(view.subject.title != subject.title for view in views):
        return MIXED
    return subject.title, subject.actions


def _because(view: View) -> str:
    return "closed by age" if view.alert.resolved_by == "age" else "it no longer holds"


def _rest(total: int, listed: int) -> list[str]:
    return [f"and {total - listed:,} more"] if total > listed else []


def _message(title: str, emoji: str, blocks: list[dict[str, Any]], body: list[str]) -> dict[str, Any]:
    return {
        "text": _cut(f"{emoji} {_escape(title)}", SECTION_LIMIT),
        "blocks": blocks[:BLOCK_LIMIT],
        "subject": _cut(" ".join(f"[lendloop] {title}".split()), HEADER_LIMIT),
        "body": "\n".join(body),
    }


def _header(text: str) -> dict[str, Any]:
    return {"type": "header", "text": {"type": "plain_text", "text": _cut(text, HEADER_LIMIT), "emoji": True}}


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": _mrkdwn(text, SECTION_LIMIT)}


def _mrkdwn(text: str, limit: int) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": _cut(text, limit)}


def _button(link: str) -> dict[str, Any]:
    text = _cut("Open in lendloop", BUTTON_LIMIT)
    return {
        "type": "actions",
        "elements": [
            {"type": "button", "action_id": "open", "text": {"type": "plain_text", "text": text}, "url": link}
        ],
    }


def _escape(text: str) -> str:
    """Slack reads these three characters as markup."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _time(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _length(length: timedelta) -> str:
    hours = int(length.total_seconds() // 3600)
    return f"{hours} h" if hours < 72 else f"{hours // 24} days"
