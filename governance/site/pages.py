"""The pages: which there are, what each says, and writing them.

Belongs here: putting what is agreed and what is published into templates. Not here: reading it, drawing it.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from governance.access import personal_class
from governance.dictionary import Dictionary, Term
from governance.kpi_values import amount
from governance.kpis import Kpi
from governance.lineage import Graph, Table, upstream_sources
from governance.manifest import Manifest
from governance.quality import OVERALL
from governance.registry import Dataset, Dimension
from governance.site.charts import line_chart, small_line
from governance.site.drawing import Box, around, draw
from governance.site.figures import Figures
from lendloop.errors import ConfigurationError
from lendloop.project import meaning_of

ASSETS = ("site.css", "site.js")
MARK = ".lendloop-site"
"""Stands in a folder that a site was written to: only such a folder, or an empty one, is written over."""
STEPS = 2
DAYS_APART = {"daily": 1, "monthly": 31}
"""From one value of a KPI to the next."""
MOST_NAMED = 4
ZONES = {
    "raw": "As the source said it.",
    "gray": "Being cleaned and understood: drafts, for no one to act on.",
    "trusted": "Agreed: owner, term, contract, tests, freshness.",
    "kpi": "Ratios and metrics, each defined once.",
    "contacts": "What reaches people, apart, for activation alone.",
}
ENDS = {"audiences": "audience", "rules": "rule"}
_LAYERS = ("raw", "staging", "gray", "trusted", "kpi", "ends")
_HEADS = ("sources", "gray: staging", "gray", "trusted, contacts", "kpi", "audiences, rules")


@dataclass(frozen=True)
class End:
    """What the file of an audience or a rule says of it: `about` is why people are written to, or what is watched."""

    title: str
    owner: str
    about: str


@dataclass(frozen=True)
class Content:
    """All that the site shows. `graph` ends in audiences and rules, of which `ends` says more by their key there;
    `figures` is None where nothing is published."""

    manifest: Manifest
    datasets: Mapping[str, Dataset]
    dictionary: Dictionary
    kpis: Sequence[Kpi]
    graph: Graph
    ends: Mapping[str, End] = field(default_factory=dict)
    figures: Figures | None = None

    @cached_property
    def tables(self) -> dict[str, Table]:
        """What has a place in the site: every table but what a pass says of itself and what alerts are kept in."""
        return {
            key: table for key, table in sorted(self.graph.tables.items()) if table.zone not in ("raw_meta", "alerts")
        }

    @cached_property
    def parents(self) -> dict[str, set[str]]:
        """The tables that each reads, for its values or for its rows."""
        read = {key: _tables_of(table) for key, table in self.tables.items()}
        return {
            key: {parent for parent in found if parent in self.tables and parent != key} for key, found in read.items()
        }

    @cached_property
    def children(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {key: set() for key in self.tables}
        for key, parents in self.parents.items():
            for parent in parents:
                found[parent].add(key)
        return found

    def ends_of(self, key: str) -> list[str]:
        """The audiences and rules that stand on a table, near or far."""
        found: set[str] = set()
        waiting = [key]
        while waiting:
            for child in self.children[waiting.pop()] - found:
                found.add(child)
                waiting.append(child)
        return sorted(one for one in found if zone_of(one) == "ends")


def _tables_of(table: Table) -> set[str]:
    uses = {ref for column in table.columns.values() for ref in column.uses}
    return {ref.rpartition(".")[0] for ref in (*uses, *table.rows)}


def zone_of(key: str) -> str:
    """The zone of a table; `raw` for every source, `ends` for audiences and rules."""
    zone = key.partition(".")[0]
    return "raw" if zone.startswith("raw_") else "ends" if zone in ENDS else zone


def term_page(name: str) -> str:
    return f"terms/{name}.html"


def kpi_page(name: str) -> str:
    return f"kpis/{name}.html"


def dataset_page(key: str) -> str:
    """The page of a table of any zone, `schema.table`; an audience or rule stands on a page with all of its kind."""
    if zone_of(key) == "ends":
        return f"consumers.html#{key}"
    return f"datasets/{key}.html"


def made_of(target: Path) -> str | None:
    """The mark with which the site was made; None where there is none."""
    mark = target / MARK
    return mark.read_text() if mark.exists() else None


def build_site(target: Path, content: Content, mark: str = "") -> list[str]:
    """Write the site in place of an earlier one; `made_of` gives the mark back. Returns the pages, as paths in `target`.

    Raises ConfigurationError for a folder that holds something else.
    """
    target = target.absolute()
    if target.exists() and not target.is_dir():
        raise ConfigurationError(f"{target} is no folder: name one for the site")
    if target.exists() and any(target.iterdir()) and not (target / MARK).exists():
        raise ConfigurationError(f"{target} holds something else than a site: name an empty or new folder")
    for left in target.parent.glob(f".{target.name}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    draft.mkdir(parents=True)
    pages = dict(_pages(content))
    for name, text in pages.items():
        file = draft / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for name in ASSETS:
        (draft / name).write_text(_template_source(name), encoding="utf-8")
    (draft / "index.js").write_text(f"window.LENDLOOP_INDEX = {_index(content)};\n", encoding="utf-8")
    (draft / MARK).write_text(mark)
    if target.exists():
        shutil.rmtree(target)
    os.replace(draft, target)
    return sorted(pages)


def _pages(content: Content) -> Iterator[tuple[str, str]]:
    environment = _environment(content)

    def page(name: str, template: str, title: str, **values: Any) -> tuple[str, str]:
        root = "../" * name.count("/")
        text = environment.get_template(template).render(root=root, page=name, title=title, **values)
        return name, text

    figures = content.figures
    zones = {zone: sum(zone_of(key) == zone for key in content.tables) for zone in ZONES}
    yield page(
        "index.html",
        "index.html.j2",
        "lendloop",
        zones=zones,
        zone_texts=ZONES,
        states=_states(content),
        shaky=_shaky(content),
        ends=sum(zone_of(key) == "ends" for key in content.tables),
    )
    terms = sorted(content.dictionary.terms.values(), key=lambda term: term.name)
    entries = sorted((*terms, *content.dictionary.refused.values()), key=lambda term: term.name)
    letters: dict[str, list[Term]] = {}
    for term in entries:
        letters.setdefault(term.name[0].upper(), []).append(term)
    yield page("dictionary.html", "dictionary.html.j2", "Dictionary", letters=letters, count=len(terms))
    for term in entries:
        places = content.dictionary.places.get(term.name, ())
        yield page(
            term_page(term.name),
            "term.html.j2",
            term.name,
            term=term,
            fields=_fields(term),
            places=[(key, column) for key, _, column in (place.rpartition(".") for place in places)],
            sources=sorted({source for place in places for source in upstream_sources(content.graph, place)}),
            kpis=[kpi for kpi in content.kpis if kpi.term == term.name],
        )
    by_table: dict[str, list[Kpi]] = {}
    for kpi in content.kpis:
        by_table.setdefault(kpi.table, []).append(kpi)
    yield page("kpis.html", "kpis.html.j2", "KPIs", by_table=by_table)
    for kpi in content.kpis:
        yield page(kpi_page(kpi.name), "kpi.html.j2", kpi.label, kpi=kpi, charts=_charts(content, kpi))
    by_zone = {zone: [key for key in content.tables if zone_of(key) == zone] for zone in reversed(ZONES)}
    order = ("trusted", "kpi", "contacts", "gray", "raw")
    yield page(
        "datasets.html",
        "datasets.html.j2",
        "Datasets",
        by_zone={zone: [_row(content, key) for key in by_zone[zone]] for zone in order},
        zone_texts=ZONES,
    )
    for key in content.tables:
        if zone_of(key) != "ends":
            yield page(
                dataset_page(key),
                "dataset.html.j2",
                key,
                **_row(content, key),
                dataset=content.datasets.get(key),
                columns=list(_columns(content, key)),
                parents=sorted(content.parents[key]),
                children=sorted(content.children[key]),
                ends=content.ends_of(key),
                picture=_picture(content, key),
                kpis=by_table.get(key, []),
            )
    yield page("lineage.html", "lineage.html.j2", "Lineage", picture=_whole_picture(content))
    yield page("sources.html", "sources.html.j2", "Sources", sources=_sources(content), figures=figures)
    ends = [
        {
            "key": key,
            "kind": ENDS[table.zone],
            "name": key.partition(".")[2],
            "said": content.ends.get(key),
            "columns": list(_columns(content, key)),
            "reads": sorted(content.parents[key]),
        }
        for key, table in content.tables.items()
        if zone_of(key) == "ends"
    ]
    yield page("consumers.html", "consumers.html.j2", "Audiences and rules", ends=ends)


def _environment(content: Content) -> Environment:
    environment = Environment(
        loader=PackageLoader("governance.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "prose": _prose,
        "breakable": _breakable,
        "moment": _moment,
        "whole": "{:,}".format,
        "percent": _percent,
    }
    environment.globals |= {
        "content": content,
        "figures": content.figures,
        "dataset_page": dataset_page,
        "term_page": term_page,
        "kpi_page": kpi_page,
        "zone_of": zone_of,
        "amount": _shown,
        "small_line": lambda kpi, points: small_line(points, days_apart=DAYS_APART[kpi.refresh]),
        "first_sentence": first_sentence,
        "meaning_of": meaning_of,
        "dimensions": [dimension.value for dimension in Dimension],
        "overall": OVERALL,
    }
    return environment


def _template_source(name: str) -> str:
    source, _, _ = PackageLoader("governance.site").get_source(Environment(autoescape=True), name)
    return source


def _prose(text: str) -> Markup:
    """Text with `code` marked."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def _percent(share: float) -> str:
    """A share of rows, cut and not rounded: 100 % is said of all of them alone."""
    return f"{math.floor(round(share * 1000, 6)) / 10:g} %"


def _moment(instant: datetime) -> Markup:
    """An instant that no narrow column breaks."""
    return Markup("<time>{:%Y-%m-%d %H:%M} UTC</time>").format(instant)


def _breakable(name: str) -> Markup:
    """A name that a narrow column may break after a dot or an underscore."""
    return Markup(re.sub(r"([._]+)", r"\1<wbr>", str(escape(name))))  # noqa: S704 - escaped


def first_sentence(text: str) -> str:
    """A meaning in short: all before the first full stop or colon that ends a clause; an abbreviation alone is none."""
    first, *rest = re.split(r"(?<=[.:])\s", text, maxsplit=2)
    if rest and first.endswith(":") and len(first.split()) < 3:
        first = f"{first} {rest[0]}"
    return first.rstrip(".:")


def _shown(kpi: Kpi, value: Decimal | None, currency: str | None) -> str:
    return amount(kpi, value, currency) or "–"


def _states(content: Content) -> dict[str, list[str]]:
    """Datasets by state, in the order in which someone wants to know of them."""
    found: dict[str, list[str]] = {"stale": [], "late": [], "absent": [], "fresh": []}
    if content.figures:
        for key, one in content.figures.datasets.items():
            found[one.state].append(key)
    return found


def _shaky(content: Content) -> dict[str, list[str]]:
    """Datasets that rest on one that is demoted, by what is said of them."""
    found: dict[str, list[str]] = {}
    for key, one in sorted(content.figures.datasets.items()) if content.figures else ():
        if one.doubt and not one.doubt.startswith("demoted"):
            found.setdefault(one.doubt, []).append(key)
    return found


def _fields(term: Term) -> dict[str, Any]:
    """What a term says of itself, but for its meaning and its ties to other terms."""
    apart = {"meaning", "not to be confused with", "instead", "synonyms"}
    return {name: value for name, value in term.said().items() if name not in apart}


def _charts(content: Content, kpi: Kpi) -> list[dict[str, Any]]:
    """One chart a currency for money, else one; none where nothing is published."""
    if not content.figures:
        return []
    found = []
    for currency, lines in content.figures.kpis[kpi.name].lines.items():
        label = f"{kpi.label} by market" + (f", in {currency}" if currency else "")
        chart = line_chart(label, lines, is_share=kpi.unit == "share", days_apart=DAYS_APART[kpi.refresh])
        days = sorted({day for points in lines.values() for day, value in points if value is not None})
        if chart:
            known = {name: dict(points) for name, points in lines.items()}
            rows = [(day, [_shown(kpi, one.get(day), currency) for one in known.values()]) for day in reversed(days)]
            found.append({"currency": currency, "chart": chart, "names": list(lines), "rows": rows})
    return found


def _row(content: Content, key: str) -> dict[str, Any]:
    """A dataset in short."""
    dataset, model, source = (
        content.datasets.get(key),
        content.manifest.models.get(key),
        content.manifest.sources.get(key),
    )
    group = model.group if model else None
    owner = (
        dataset.parameters.owner
        if dataset
        else content.manifest.group_owners.get(group or "")
        if model
        else source.meta.get("owner")
        if source
        else None
    )
    classes = [personal_class(content.graph, f"{key}.{name}") for name in content.tables[key].columns]
    return {
        "key": key,
        "zone": zone_of(key),
        "description": (model.description if model else source.description if source else "").strip(),
        "owner": owner,
        "steward": dataset.parameters.steward if dataset else None,
        "group": group,
        "file": f"dbt_project/{content.tables[key].file}",
        "personal_data": [one for one in ("name", "contact", "pseudonym") if one in classes],
        "stands": content.figures.datasets.get(key) if content.figures else None,
    }


def _columns(content: Content, key: str) -> Iterator[dict[str, Any]]:
    """Columns of a table in the order of the table, those that are only read for its rows included."""
    model, dataset = content.manifest.models.get(key), content.datasets.get(key)
    for name in content.tables[key].columns:
        ref = f"{key}.{name}"
        declared = model.columns.get(name) if model else None
        term = dataset.columns[name].term if dataset and name in dataset.columns else None
        made_of = sorted(parent for parent in content.graph.parents(ref) if _stands(content, parent))
        yield {
            "name": name,
            "type": declared.data_type if declared else "",
            "term": term,
            "meaning": content.dictionary.terms[term].meaning if term else declared.description if declared else "",
            "class": personal_class(content.graph, ref),
            "made_of": [(parent.rpartition(".")[0], parent.rpartition(".")[2]) for parent in made_of[:MOST_NAMED]],
            "more": max(0, len(made_of) - MOST_NAMED),
        }


def _stands(content: Content, ref: str) -> bool:
    return ref.rpartition(".")[0] in content.tables


def _box(key: str, rank: int, root: str, *, is_focus: bool = False) -> Box:
    zone = zone_of(key)
    label = key.partition(".")[2] if zone != "raw" else key.removeprefix("raw_")
    return Box(key, label, zone, root + dataset_page(key), rank, is_focus)


def _picture(content: Content, key: str) -> Markup:
    """What is within two steps of a dataset."""
    ranks, lines = around(key, content.parents, steps=STEPS)
    boxes = [_box(one, rank, "../", is_focus=one == key) for one, rank in sorted(ranks.items())]
    return draw(f"Lineage of {key}, {STEPS} steps up and down", boxes, lines)


def _whole_picture(content: Content) -> Markup:
    layer = {zone: place for place, zone in enumerate(_LAYERS)} | {"contacts": _LAYERS.index("trusted")}

    def zone(key: str) -> str:
        is_staging = zone_of(key) == "gray" and all(zone_of(parent) == "raw" for parent in content.parents[key])
        return "staging" if is_staging else zone_of(key)

    boxes = [_box(key, layer[zone(key)], "") for key in content.tables]
    lines = [(parent, key) for key, parents in content.parents.items() for parent in parents]
    return draw("Every dataset, from the sources to audiences and rules", boxes, lines, _HEADS)


def _sources(content: Content) -> list[dict[str, Any]]:
    """Sources by name, each with its tables in raw."""
    by_schema: dict[str, list[str]] = {}
    for key in content.tables:
        if zone_of(key) == "raw":
            by_schema.setdefault(key.partition(".")[0], []).append(key)
    return [
        {
            "name": schema.removeprefix("raw_"),
            "owner": next(
                (one.meta.get("owner") for one in content.manifest.sources.values() if one.schema == schema), None
            ),
            "status": content.figures.sources.get(schema.removeprefix("raw_")) if content.figures else None,
            "tables": [_row(content, key) for key in keys],
        }
        for schema, keys in sorted(by_schema.items())
    ]


def _index(content: Content) -> str:
    """What the search looks through, as JSON: name, kind, page, further names, meaning in short, refused names."""
    found: list[tuple[str, str, str, list[str], str, list[str]]] = []
    refused = content.dictionary.refused.values()
    for term in content.dictionary.terms.values():
        columns = {place.rpartition(".")[2] for place in content.dictionary.places[term.name]} - {term.name}
        names = [*term.synonyms, *sorted(columns)]
        instead_of = [entry.name for entry in refused if term.name in entry.instead]
        found.append((term.name, "term", term_page(term.name), names, first_sentence(term.meaning), instead_of))
    for term in refused:
        text = f"refused as a name; write {' or '.join(term.instead)}"
        found.append((term.name, "refused name", term_page(term.name), list(term.synonyms), text, []))
    found += [
        (kpi.label, "KPI", kpi_page(kpi.name), [kpi.name], first_sentence(kpi.meaning), []) for kpi in content.kpis
    ]
    for key in content.tables:
        if zone_of(key) == "ends":
            kind, text = ENDS[key.partition(".")[0]], content.ends[key].title if key in content.ends else ""
        else:
            kind, text = "dataset", first_sentence(_row(content, key)["description"])
        found.append((key, kind, dataset_page(key), [], text, []))
    found.sort()
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))
