"""Alerts: what becomes of findings and failures, who is told, once; a state machine and an outbox.

What belongs here: alert states, notification decisions, messages, their delivery.
What does not: finding things (activation.rules).
"""

from __future__ import annotations

from activation.alerts.advance import AlertReport, advance_alerts, report_failures
from activation.alerts.deliver import DeliveryReport, deliver_outbox
from activation.alerts.people import acknowledge_alert, resend_failed, silence_rule, snooze_alert
from activation.alerts.routes import Routes, check_routes, load_routes, routes_schema
from activation.alerts.status import alert_status, outbox_failures
from activation.ops.failures import PipelineFailure

__all__ = [
    "AlertReport",
    "DeliveryReport",
    "PipelineFailure",
    "Routes",
    "acknowledge_alert",
    "advance_alerts",
    "alert_status",
    "check_routes",
    "deliver_outbox",
    "load_routes",
    "outbox_failures",
    "report_failures",
    "resend_failed",
    "routes_schema",
    "silence_rule",
    "snooze_alert",
]
