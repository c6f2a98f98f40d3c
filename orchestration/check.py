"""`lendloop check`: every definition, offline. Each part says what it found, or what is wrong, one line a fault."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import BaseModel

from lendloop.errors import LendloopError
from lendloop.settings import SOURCES, Settings, load_settings

Said = str | tuple[str, list[str]]
"""What a part that is well says, and what to see to in time, a line each."""


class CheckOutcome(BaseModel):
    """What a part said: `summary` and `warnings` when it is well, `fault` when it is not."""

    name: str
    summary: str = ""
    warnings: list[str] = []
    fault: str | None = None


def check_all() -> list[CheckOutcome]:
    """Check settings, blanks, dbt project, registry, dictionary, lineage, KPIs, audiences, rules, the gate of trusted, routes,
    the asset graph.

    While a scaffolded file has blanks, only they are named: whatever else is wrong may come of them.
    Raises ConfigurationError only when the settings themselves can't be read.
    """
    settings = load_settings()
    parts: dict[str, Callable[[Settings], Said]] = {
        "settings": _settings,
        "blanks": _blanks,
        "dbt project": _dbt,
        "registry": _registry,
        "dictionary": _dictionary,
        "lineage": _lineage,
        "kpis": _kpis,
        "audiences": _audiences,
        "rules": _rules,
        "promotion": _promotion,
        "versions": _versions,
        "routes": _routes,
        "asset graph": _graph,
    }
    outcomes = []
    for name, part in parts.items():
        outcomes.append(_attempt(name, part, settings))
        if name == "blanks" and outcomes[-1].fault:
            break
    return outcomes


def _attempt(name: str, part: Callable[[Settings], Said], settings: Settings) -> CheckOutcome:
    try:
        said = part(settings)
        summary, warnings = (said, []) if isinstance(said, str) else said
        return CheckOutcome(name=name, summary=summary, warnings=warnings)
    except LendloopError as error:
        return CheckOutcome(name=name, fault=str(error))


def _settings(settings: Settings) -> str:
    configured = [source for source in SOURCES if settings.is_configured(source)]
    return f"environment {settings.env}; configured sources: {', '.join(configured) or 'none'}"


def _blanks(settings: Settings) -> str:
    from governance.blanks import refuse_blanks
    from orchestration.commands_scaffold import places_of_blanks

    refuse_blanks(places_of_blanks(settings))
    return "nothing is left to fill in"


def _dbt(settings: Settings) -> str:
    from lendloop.project import load_manifest, publishable_tables

    tables = publishable_tables(load_manifest(settings.home))
    return f"{len(tables)} tables for readers in {len({table.group for table in tables})} consistency groups"


def _registry(settings: Settings) -> str:
    from governance.manifest import read_manifest
    from governance.registry import read_registry

    datasets = read_registry(read_manifest(settings.home))
    return f"{len(datasets)} datasets say who owns them, how fresh and complete they are, and what happens on error"


def _dictionary(settings: Settings) -> str:
    from governance.dictionary import read_dictionary
    from governance.manifest import read_manifest
    from orchestration.commands_governance import summary

    return summary(read_dictionary(read_manifest(settings.home)))


def _lineage(settings: Settings) -> str:
    from governance.access import check_classes
    from governance.lineage import load_graph

    graph = load_graph(settings.home)
    check_classes(graph)
    return f"{sum(1 for _ in graph.refs())} columns in {len(graph.tables)} tables; none marked for less than it carries"


def _kpis(settings: Settings) -> str:
    from governance.kpis import read_kpis
    from lendloop.project import load_manifest

    kpis = read_kpis(load_manifest(settings.home))
    return f"{len(kpis)} KPIs, {sum(kpi.kind == 'metric' for kpi in kpis)} of them metrics"


def _audiences(settings: Settings) -> str:
    from activation.audiences import load_audiences
    from orchestration.lineage import open_door

    audiences = load_audiences(settings.definitions / "audiences", open_door(settings))
    return ", ".join(audience.audience for audience in audiences) or "none"


def _rules(settings: Settings) -> str:
    from activation.rules import load_rules
    from orchestration.lineage import open_door

    return ", ".join(rule.rule for rule in load_rules(settings.definitions, open_door(settings))) or "none"


def _promotion(settings: Settings) -> str:
    from governance.manifest import read_manifest
    from governance.promotion import check_gate
    from orchestration.lineage import load_definitions

    passed = check_gate(read_manifest(settings.home), load_definitions(settings, held=False).graph)
    return f"{passed} datasets of trusted and kpi pass the gate"


def _versions(settings: Settings) -> Said:
    from datetime import UTC, datetime

    from governance.manifest import read_manifest
    from governance.versions import check_versions
    from orchestration.lineage import load_definitions

    manifest, graph = read_manifest(settings.home), load_definitions(settings, held=False).graph
    later = check_versions(manifest, graph, datetime.now(UTC).date())
    unread = "; ".join(str(one) for one in later if not one.readers)
    return unread or "nothing that is read is past its day", [str(one) for one in later if one.readers]


def _routes(settings: Settings) -> str:
    from activation.alerts import check_routes, load_routes
    from activation.rules import load_rules

    check_routes(load_rules(settings.definitions), load_routes(settings.definitions))
    return "every rule's alerts reach somebody"


def _graph(settings: Settings) -> str:
    from orchestration.definitions import build_defs

    graph = build_defs(settings).resolve_asset_graph()
    return f"{len(graph.get_all_asset_keys())} assets, {len(graph.asset_check_keys)} checks"
