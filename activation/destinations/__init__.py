"""Where audiences go. A destination is a contract written as data and two functions, upsert and remove.

What belongs here: one module a vendor, what they share (HTTP with retries, rate budgets), the
registry. What does not: who is sent what, and the ledger of it.
"""

from __future__ import annotations

from activation.destinations.contract import Contract, Destination, FileDestination, Row, RowResult, Rows
from activation.destinations.registry import open_destination

__all__ = ["Contract", "Destination", "FileDestination", "Row", "RowResult", "Rows", "open_destination"]
