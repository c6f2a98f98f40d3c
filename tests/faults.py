"""What docs/faults.yaml declares, for the tests that hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from lendloop.home import CHECKOUT


@dataclass(frozen=True)
class Case:
    """One fault at one system: what is done to the stand-in, and what comes of it once and for good."""

    system: str
    name: str
    fault: dict[str, Any]
    passing: str
    lasting: str

    def __str__(self) -> str:
        return f"{self.system}-{self.name}"


def declared(*systems: str) -> list[Case]:
    """The cases of some systems."""
    found = yaml.safe_load((CHECKOUT / "docs" / "faults.yaml").read_text())["systems"]
    return [
        Case(system, name, {"system": system, **one["fault"]}, str(one["passing"]), str(one["lasting"]))
        for system in systems
        for name, one in found[system]["faults"].items()
    ]
