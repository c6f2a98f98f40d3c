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
from lendloop.errors import ConfigurationError, nearest


@dataclass(frozen=True)
class Going:
    """An agreed dataset that goes, with everyone who reads it still: on a day, or at once where none is named."""

    model: Model
    readers: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.model.key} goes on {self.model.goes_on}: read by {', '.join(self.readers) or 'nobody any more'}"

    def is_over(self, today: date) -> bool:
        """Whether nothing may read it any more."""
        return self.model.goes_on is None or self.model.goes_on <= today


def going(manifest: Manifest, graph: Graph) -> list[Going]:
    """Every agreed dataset that is deprecated, the first to go first."""
    found = [Going(model, _readers(model, manifest, graph)) for model in manifest.governed if model.deprecated]
    return sorted(found, key=lambda one: (one.model.goes_on or date.min, one.model.key))


def _readers(model: Model, manifest: Manifest, graph: Graph) -> tuple[str, ...]:
    kpis = sorted(f"KPI {name}" for name, ids in manifest.kpis.items() if model.unique_id in ids)
    return (*consumers_of(model, manifest, graph), *kpis)


def check_versions(manifest: Manifest, graph: Graph, today: date) -> list[Going]:
    """What goes later. Raises ConfigurationError with one line for each that is past its day and still read."""
    found = going(manifest, graph)
    late = [
        f"{one.model.yaml}: {one.model.key}"
        f" {f'was to go on {one.model.goes_on}' if one.model.goes_on else f'is deprecated ({one.model.deprecated})'}"
        f" and is read by {', '.join(one.readers)}; move them to the newer version, or give it another day"
        for one in found
        if one.is_over(today) and one.readers
    ]
    if late:
        raise ConfigurationError("\n".join(late))
    return [one for one in found if not one.is_over(today)]


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
        like = nearest(stem, (known for model in manifest.models.values() for known in (model.name, model.key)))
        raise ConfigurationError(f"no dataset is called {name}{like}")
    return sorted(found, key=lambda model: model.key)
