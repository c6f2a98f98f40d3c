"""What ops are given: settings and the business clock, read when a step starts, never at import."""

from __future__ import annotations

import dagster as dg

from lendloop.clock import Clock
from lendloop.settings import Settings, load_settings


class Hub(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The installation a step works on: the environment's settings, and its clock now."""

    @property
    def settings(self) -> Settings:
        return load_settings()

    @property
    def clock(self) -> Clock:
        return self.settings.clock()
