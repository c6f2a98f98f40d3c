"""The tables of operational state. Migrations bring a database to this shape; a test holds them together.

Times are the business clock's unless a name says `wall`: with a clock that stands still, pacing and
ageing of messages still go on.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from activation.ops.types import DecimalText, UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

sync_run = Table(
    "sync_run",
    metadata,
    Column("id", Text, primary_key=True),
    Column("audience", Text, nullable=False),
    Column("destination", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("as_of", UtcDateTime, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("counts", JSON, nullable=False),
    Column("error", Text),
    Index("ix_sync_run_audience_destination_started_at", "audience", "destination", "started_at"),
)
"""One attempt to bring an audience to a destination."""

rule_evaluation = Table(
    "rule_evaluation",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rule", Text, nullable=False),
    Column("rule_version", Text, nullable=False),
    Column("as_of", UtcDateTime, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text),
    Column("findings", Integer, nullable=False),
    Column("new_findings", Integer, nullable=False),
    Column("cleared_findings", Integer, nullable=False),
    Column("frozen", Boolean, nullable=False),
    Column("duration_ms", Integer, nullable=False),
    Column("advanced_at", UtcDateTime),
    Index("ix_rule_evaluation_rule_id", "rule", "id"),
)
"""One evaluation of a rule: passed, failed, skipped or error. `frozen`: it may not close an alert."""

finding = Table(
    "finding",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rule", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("entity_key", JSON, nullable=False),
    Column("severity", Text, nullable=False),
    Column("value", DecimalText),
    Column("threshold", DecimalText),
    Column("deviance", DecimalText),
    Column("details", JSON, nullable=False),
    Column("occurred_at", UtcDateTime),
    Column("firing", Boolean, nullable=False),
    Column("unseen", Boolean, nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    Column("cleared_at", UtcDateTime),
    Column("evaluation_id", Integer, ForeignKey("rule_evaluation.id"), nullable=False),
    UniqueConstraint("rule", "entity"),
)
"""What a rule found: one row an entity. `unseen`: it fired and the state machine has not met it yet."""

alert = Table(
    "alert",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("fingerprint", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("entity", Text, nullable=False),
    Column("entity_key", JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("accepted_severity", Text),
    Column("episode", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("baseline", Boolean, nullable=False),
    Column("value", DecimalText),
    Column("threshold", DecimalText),
    Column("deviance", DecimalText),
    Column("details", JSON, nullable=False),
    Column("first_opened_at", UtcDateTime, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("open_since", UtcDateTime, nullable=False),
    Column("acknowledged_at", UtcDateTime),
    Column("snoozed_at", UtcDateTime),
    Column("snoozed_until", UtcDateTime),
    Column("resolved_at", UtcDateTime),
    Column("resolved_by", Text),
    Column("notified_episode", Integer),
    Column("notified_severity", Text),
    Column("notified_at", UtcDateTime),
    Column("notified_firing", Boolean),
    Column("assignee", Text),
    Column("note", Text),
    Column("handled_by", Text),
    Index("ix_alert_rule_state", "rule", "state"),
)
"""An alert: its fingerprint is made of rule and entity. `assignee`, `note`, `handled_by` belong to people."""

alert_event = Table(
    "alert_event",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("alert_id", Integer, ForeignKey("alert.id"), nullable=False, index=True),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("episode", Integer, nullable=False),
    Column("event", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text),
)
"""What happened to an alert, in order."""

outbox = Table(
    "outbox",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("uid", Text, nullable=False, unique=True),
    Column("dedup_key", Text, nullable=False, unique=True),
    Column("channel", Text, nullable=False),
    Column("target", Text),
    Column("kind", Text, nullable=False),
    Column("payload", JSON, nullable=False),
    Column("thread_key", Text),
    Column("parent_id", Integer, ForeignKey("outbox.id")),
    Column("state", Text, nullable=False, index=True),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False),
    Column("created_as_of", UtcDateTime, nullable=False),
    Column("sent_as_of", UtcDateTime),
    Column("created_wall", UtcDateTime, nullable=False),
    Column("attempted_wall", UtcDateTime),
    Column("not_before_wall", UtcDateTime),
    Column("external_channel", Text),
    Column("external_id", Text),
)
"""A message to be delivered. States: planned, in_flight, unknown, sent, failed. `target` NULL: the default one.

`uid` travels with the message, so that it can be looked up; `parent_id` is the message that an update edits.
"""

notification = Table(
    "notification",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("alert_id", Integer, ForeignKey("alert.id"), nullable=False, index=True),
    Column("episode", Integer, nullable=False),
    Column("decided_at", UtcDateTime, nullable=False),
    Column("decision", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("receiver", Text),
    Column("outbox_id", Integer, ForeignKey("outbox.id"), index=True),
)
"""Every notification of an alert, planned (with its outbox row) or held back, with the reason."""

pipeline_failure = Table(
    "pipeline_failure",
    metadata,
    Column("key", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("link", Text),
    Column("rules", JSON, nullable=False),
    Column("sources", JSON, nullable=False),
    Column("datasets", JSON, nullable=False),
    Column("occurrences", Integer, nullable=False),
    Column("unseen", Boolean, nullable=False),
    Column("first_seen_at", UtcDateTime, nullable=False),
    Column("last_seen_at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime),
)
"""A part of the machinery that failed (asset, run, sensor, check, source, rule), until its next success."""

cursor = Table(
    "cursor",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("updated_wall", UtcDateTime, nullable=False),
)
"""How far a relay has read."""

silence = Table(
    "silence",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("rule", Text, nullable=False),
    Column("entity", Text),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("ends_at", UtcDateTime, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("comment", Text, nullable=False),
)
"""A window in which a rule (or one entity of it) notifies nobody."""

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("details", JSON, nullable=False),
)
"""What people did."""
