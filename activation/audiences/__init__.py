"""Audiences: files say who is written to and why; a planner and a ledger bring them to destinations.

What belongs here: definitions, selection, plan, ledger, sync. What does not: vendors
(`activation.destinations`), alerts, anything that schedules.
"""

from __future__ import annotations

from activation.audiences.definition import Audience, json_schema, load_audience, load_audiences
from activation.audiences.report import DestinationReport, SyncReport
from activation.audiences.runs import audience_status, failed_without_a_file
from activation.audiences.sync import sync_audience
from activation.audiences.undefined import let_go_of_undefined

__all__ = [
    "Audience",
    "DestinationReport",
    "SyncReport",
    "audience_status",
    "failed_without_a_file",
    "json_schema",
    "let_go_of_undefined",
    "load_audience",
    "load_audiences",
    "sync_audience",
]
