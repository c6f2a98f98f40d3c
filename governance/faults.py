"""A fault in what is declared: one line that says where, of what, what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lendloop.errors import ConfigurationError


@dataclass(frozen=True, order=True)
class Fault:
    """`file` is relative to the dbt project; `subject` a model, `model.column` or a term."""

    file: str
    subject: str
    what: str
    advice: str
    about: str = ""
    """The key of meta that it is about, where it is about one."""

    def __str__(self) -> str:
        return f"{self.file}: {self.subject}: {self.what}; {self.advice}"


def refuse(faults: Iterable[Fault]) -> None:
    """Raise ConfigurationError with one line a fault, when there are any."""
    lines = [str(fault) for fault in sorted(set(faults))]
    if lines:
        raise ConfigurationError("\n".join(lines))
