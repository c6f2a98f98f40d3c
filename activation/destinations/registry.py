"""Destinations by name, opened from the settings. A name that is not configured opens as None."""

from __future__ import annotations

import asyncio

from activation.destinations.blueshift import Blueshift, contract_at
from activation.destinations.contract import Destination
from activation.destinations.rates import Sleep
from lendloop.errors import ConfigurationError
from lendloop.settings import Settings

NETWORK_DESTINATIONS = ("blueshift",)


def open_destination(name: str, settings: Settings, *, sleep: Sleep = asyncio.sleep) -> Destination | None:
    """The destination, or None when its address is not set.

    Raises ConfigurationError for a name nobody knows, or when only part of its settings is there.
    """
    if name != "blueshift":
        raise ConfigurationError(f"no destination {name!r}; known: {', '.join(NETWORK_DESTINATIONS)}, drop")
    if not is_configured(name, settings):
        return None
    settings.require("blueshift_url", "blueshift_key")
    return Blueshift(
        str(settings.blueshift_url),
        settings.secret("blueshift_key"),
        settings.home.delivery / "rates",
        sleep=sleep,
        contract=contract_at(settings.blueshift_calls_per_s),
    )


def is_configured(name: str, settings: Settings) -> bool:
    """Whether any of a destination's settings is there."""
    return name == "drop" or bool(settings.blueshift_url or settings.blueshift_key)
