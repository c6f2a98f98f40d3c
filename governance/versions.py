"""Versions of datasets that go: by when, and who still reads them.

What belongs here: judging the day. What does not: who reads a dataset (`promotion`), and what an audience or a rule may
read (`activation.door`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from governance.lineage import Graph
from governance.manifest import Manifest, Model
from governance.promotion import consumers_of
from lendloop.errors import ConfigurationError


@dataclass(frozen=True)
class Going:
    """An agreed dataset that goes on a day, with everyone who reads it still."""

    model: Model
    on: date
    readers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.model.key} goes on {self.on}: read by {', '.join(self.readers) or 'nobody any more'}"


def going(manifest: Manifest, graph: Graph) -> list[Going]:
    """Every agreed dataset with a day on which it goes (dbt's `deprecation_date`), the first first."""
    found = [
        Going(model, model.goes_on, tuple(consumers_of(model, manifest, graph)))
        for model in manifest.governed
        if model.goes_on
    ]
    return sorted(found, key=lambda one: (one.on, one.model.key))


def check_versions(manifest: Manifest, graph: Graph, today: date) -> list[Going]:
    """What goes later. Raises ConfigurationError with one line for each that is past its day and still read."""
    found = going(manifest, graph)
    late = [
        f"{one.model.yaml}: {one.model.key} was to go on {one.on} and is read by {', '.join(one.readers)};"
        " move them to the newer version, or give it another day"
        for one in found
        if one.on <= today and one.readers
    ]
    if late:
        raise ConfigurationError("\n".join(late))
    return [one for one in found if one.on > today]


def find_dataset(name: str, manifest: Manifest) -> list[Model]:
    """The datasets that a name means: `fct_loan` or `trusted.fct_loan` all its versions, with `.v1` that one.

    Raises ConfigurationError when there is none.
    """
    stem, dot, number = name.rpartition(".v")
    if not dot or not number.isdigit():
        stem, number = name, ""
    zone, _, wanted = stem.rpartition(".")
    found = [
        model
        for model in manifest.models.values()
        if wanted in (model.name, model.unversioned) and zone in ("", model.zone) and number in ("", model.version)
    ]
    if not found:
        raise ConfigurationError(f"no dataset is called {name}")
    return sorted(found, key=lambda model: model.key)
