"""The pretend lender's world: seeded data with a clock, a ledger database, and the truth for tests."""

from sandbox.world.world import LEDGER_TABLES, SYSTEM_TABLES, TRUTH_TABLES, World

__all__ = ["LEDGER_TABLES", "SYSTEM_TABLES", "TRUTH_TABLES", "World"]
