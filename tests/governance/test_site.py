"""The pages: everything that is agreed has its place, links lead somewhere, and the pictures are right."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from markupsafe import Markup

from governance.dictionary import read_dictionary
from governance.kpi_values import Standing as KpiStanding
from governance.kpis import find_kpi, read_kpis
from governance.lineage import Graph
from governance.manifest import Manifest
from governance.quality import Standing
from governance.registry import read_registry
from governance.site import Content, End, build_site, dataset_page, kpi_page, term_page
from governance.site.charts import line_chart, small_line
from governance.site.drawing import Box, around, draw
from governance.site.figures import DatasetFigures, Figures, KpiFigures
from governance.site.pages import first_sentence
from governance.watch import Finding, Verdict
from lendloop.errors import ConfigurationError
from lendloop.home import CHECKOUT, Home
from lendloop.project import load_manifest
from lendloop.settings import load_settings
from lendloop.source_status import SourceStatus
from orchestration.lineage import load_definitions

pytestmark = pytest.mark.slow
NOON = datetime(2026, 6, 30, 12, tzinfo=UTC)


@dataclass
class Page(HTMLParser):
    """Ids and links of a page."""

    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        self.links += [str(given[name]) for name in ("href", "src") if given.get(name)]


def read(file: Path) -> Page:
    page = Page()
    page.feed(file.read_text())
    return page


@pytest.fixture(scope="module")
def content(manifest: Manifest, parsed: Home) -> Content:
    settings = load_settings(home_path=parsed.root)
    return Content(
        manifest=manifest,
        datasets=read_registry(manifest),
        dictionary=read_dictionary(manifest),
        kpis=read_kpis(load_manifest(settings.home)),
        graph=load_definitions(settings).graph,
        ends={"audiences.recovery": End("Settle what is left", "collections", "A quote that ends the debt.")},
    )


@pytest.fixture(scope="module")
def site(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("out") / "site"
    build_site(target, content)
    return target


def pages(site: Path) -> Iterator[Path]:
    return site.rglob("*.html")


def test_every_term_kpi_dataset_and_consumer_has_its_place_and_is_found(content: Content, site: Path) -> None:
    index = json.loads((site / "index.js").read_text().removeprefix("window.LENDLOOP_INDEX = ").rstrip(";\n"))
    found = {page for _, _, page, _, _, _ in index}
    terms = [*content.dictionary.terms, *content.dictionary.refused]
    wanted = {
        *map(term_page, terms),
        *(kpi_page(kpi.name) for kpi in content.kpis),
        *map(dataset_page, content.tables),
    }
    assert len(wanted) > 350
    assert wanted == found
    assert [page for page in wanted if not (site / urldefrag(page).url).exists()] == []
    assert {"audiences.recovery", "rules.large_transaction"} <= set(read(site / "consumers.html").ids)


def test_every_link_leads_to_a_page_and_a_place_in_it(site: Path) -> None:
    read_pages = {page.resolve(): read(page) for page in pages(site)}
    dead = []
    for file, page in read_pages.items():
        for link in page.links:
            if link.startswith("data:"):
                continue
            assert "://" not in link, f"{file.name} fetches or leads elsewhere: {link}"
            path, fragment = urldefrag(link)
            target = (file.parent / unquote(path)).resolve() if path else file
            if not target.exists() or (fragment and fragment not in read_pages[target].ids):
                dead.append(f"{file.relative_to(site)} -> {link}")
    assert dead == []


def test_ids_are_unique_and_each_page_opens_with_one_heading(site: Path) -> None:
    for file in pages(site):
        page = read(file)
        assert len(page.ids) == len(set(page.ids)), file
        assert page.headings[0] == "h1", file
        assert page.headings.count("h1") == 1, file


def test_a_term_says_what_it_is_confused_with_and_a_refused_name_what_to_write(site: Path) -> None:
    par = (site / term_page("par_30")).read_text()
    assert 'href="../terms/vintage_loss.html"' in par
    assert "kpi.<wbr>kpi_<wbr>portfolio_<wbr>daily.<wbr>par_<wbr>30" in par
    assert "raw_ledger.m_loan.html#principal_outstanding_derived" in par
    ltv = (site / term_page("ltv")).read_text()
    assert "Nothing in trusted or kpi may be called so" in ltv
    assert "../terms/customer_lifetime_value.html" in ltv


def test_a_dataset_says_what_it_promises_and_whom_its_columns_lead_to(site: Path) -> None:
    text = re.sub(r"<wbr>", "", (site / dataset_page("trusted.dim_customer")).read_text())
    for part in ("steward", "on error", "stale after 26", "badge pii pseudonym", "audiences.recovery", "<svg"):
        assert part in text
    assert 'badge pii contact">contact' in (site / dataset_page("contacts.customer_contact")).read_text()
    assert "badge zone gray" in (site / dataset_page("gray.int_person_record")).read_text()


def test_an_audience_says_why_and_whose_it_is_and_is_found_by_its_title(site: Path) -> None:
    text = (site / "consumers.html").read_text()
    assert "<p>Settle what is left. A quote that ends the debt.</p>" in text
    assert "<dt>owner</dt><dd>collections</dd>" in text
    assert '"Settle what is left"' in (site / "index.js").read_text()


def test_no_page_holds_a_path_of_this_machine(site: Path) -> None:
    here = {str(CHECKOUT), str(Path.home()), str(site.parent)} - {"/"}
    assert [file for file in site.rglob("*.*") for path in here if file.is_file() and path in file.read_text()] == []


def test_a_site_replaces_a_site_and_nothing_else(content: Content, site: Path, tmp_path: Path) -> None:
    (site / "terms" / "gone.html").write_text("")
    build_site(site, content)
    assert not (site / "terms" / "gone.html").exists()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="something else than a site"):
        build_site(tmp_path, content)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def shown(content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site with a few figures."""
    noon, kpi = NOON, content.kpis[0]
    shares = {"overall": 0.99999, "validity": 1.0, "uniqueness": 0.29}
    measured = Standing("trusted.fct_loan", noon, shares, 3, (0.99999,))
    day = noon.replace(hour=0, tzinfo=None)
    missing = Finding(
        kind="rows", what="rows", of="NG", since=day, until=noon.replace(tzinfo=None), time_zone="Africa/Lagos",
        found=3, low=80, high=140,
    )  # fmt: skip
    verdict = Verdict(
        rows_judged=True, findings=[missing], not_judged=dict.fromkeys(("CI", "GH"), "it has too few rows")
    )
    loans = DatasetFigures("late", noon, 1234, 6, 1, measured, verdict=verdict)
    others = DatasetFigures("absent", None, None, 0, 0, None)
    doubted = replace(others, doubt="demoted since 2026-06-30: it broke")
    shaky = dict.fromkeys(("trusted.agg_cohort", "trusted.agg_roll"), replace(others, doubt="rests on x, demoted"))
    day_value, month_value = (
        KpiStanding(find_kpi(content.kpis, name), "NG", "NGN", period, Decimal(2), (), noon, "ok", None)
        for name, period in (("fpd_7", date(2026, 6, 21)), ("customer_acquisition_cost", date(2026, 5, 1)))
    )
    immature = replace(day_value, market="GH", value=None, status="blank", reason="nothing is old enough yet")
    standings = {day_value.kpi.name: (day_value, immature), month_value.kpi.name: (month_value,)}
    figures = Figures(
        as_of=noon,
        version=7,
        datasets={
            key: loans if key == "trusted.fct_loan" else doubted if key == kpi.table else others
            for key in content.datasets
        }
        | shaky,
        kpis={kpi.name: KpiFigures(standings.get(kpi.name, ()), {}) for kpi in content.kpis},
        groups={},
        sources={"crm": SourceStatus(source="crm", configured=True, succeeded_as_of=noon, error="it does not answer")},
    )
    target = tmp_path_factory.mktemp("shown") / "site"
    build_site(target, replace(content, figures=figures))
    return target


def test_quality_is_shown_by_dimension_and_what_is_demoted_says_so(content: Content, shown: Path) -> None:
    day, kpi = NOON.replace(hour=0), content.kpis[0]
    text = (shown / dataset_page("trusted.fct_loan")).read_text()
    assert "<strong>99.9 %</strong>: validity 100 %, uniqueness 29 %; 6 of 7 checks passed" in text
    assert f"<strong>not as usual</strong>: NG: 3 rows from {day:%Y-%m-%d %H:%M} to " in text
    assert "Africa/Lagos, usual are 80 to 140; CI, GH not compared, it has too few rows" in text
    assert "badge state late" in text
    assert 'data-label="quality">99.9 %' in (shown / "datasets.html").read_text()
    assert "Late: <a" in (shown / "index.html").read_text()
    for page in (dataset_page(kpi.table), kpi_page(kpi.name), "index.html"):
        assert "ot agreed now: demoted since 2026-06-30: it broke" in (shown / page).read_text(), page
    assert ">demoted<" in (shown / "datasets.html").read_text()


def test_the_first_page_says_what_rests_on_a_demoted_dataset_and_which_source_failed_without_its_words(
    shown: Path,
) -> None:
    text = re.sub(r"<wbr>|</?a[^>]*>", "", (shown / "index.html").read_text())
    assert "<p>Not agreed now, rests on x, demoted: trusted.agg_cohort, trusted.agg_roll.</p>" in text
    assert "The last read of crm failed; what is made of it is as of <time>2026-06-30 12:00 UTC</time>." in text
    assert "it does not answer" not in text


def test_each_value_of_a_kpi_has_the_day_that_it_is_of_and_a_blank_one_has_none(shown: Path) -> None:
    rows = [line for line in (shown / "kpis.html").read_text().splitlines() if '<th scope="row">' in line]
    told = [re.sub(r"<[^>]+>", " ", line).split() for line in rows]
    assert told == [["NG", "200.0", "%", "2026-06-21"], ["GH", "–"], ["NG", "2.00", "NGN", "2026-05"]]


def test_a_picture_keeps_layers_apart_and_boxes_off_each_other(graph: Graph, content: Content) -> None:
    ranks, lines = around("trusted.fct_loan", content.parents, steps=2)
    assert ranks["trusted.fct_loan"] == 0
    assert ranks["gray.stg_ledger__loans"] == -1
    assert ranks["audiences.recovery"] == 1
    assert all(ranks[start] * ranks[end] >= 0 for start, end in lines), "no line leads past the dataset"
    drawn = draw("loans", [Box(key, key, "gray", "x", rank) for key, rank in ranks.items()], lines)
    places = [(int(x), float(y)) for x, y in re.findall(r'<rect x="(\d+)" y="([\d.]+)"', drawn)]
    assert len(places) == len(ranks)
    for x in {x for x, _ in places}:
        column = sorted(y for at, y in places if at == x)
        assert all(later - earlier >= 26 for earlier, later in itertools.pairwise(column))


def test_lines_that_need_not_cross_do_not() -> None:
    boxes = [Box(name, name, "gray", "", rank) for rank, names in enumerate(("abc", "xyz")) for name in names]
    drawn = draw("three", boxes, [("a", "z"), ("b", "y"), ("c", "x")])
    at = {key: float(y) for key, y in re.findall(r'data-key="(\w)".*?<rect x="\d+" y="([\d.]+)"', drawn)}
    assert sorted("abc", key=at.get) == sorted("abc", key=lambda name: at[{"a": "z", "b": "y", "c": "x"}[name]])


def points(*values: str | None) -> list[tuple[date, Decimal | None]]:
    return [(date(2026, 3, day), None if value is None else Decimal(value)) for day, value in enumerate(values, 1)]


def test_a_chart_breaks_its_line_where_a_value_is_blank_or_a_day_is_missing() -> None:
    chart = line_chart("PAR", {"NG": points("0.1", "0.2", None, "0.3", "0.4")}, is_share=True, days_apart=1)
    assert chart.count("<polyline") == 2
    assert ">40 %<" in chart
    with_a_day_missing = [*points("1", "2"), (date(2026, 3, 9), Decimal(3))]
    drawn = line_chart("x", {"NG": with_a_day_missing}, is_share=False, days_apart=1)
    assert (drawn.count("<polyline"), drawn.count("<circle")) == (1, 1)
    assert line_chart("x", {"NG": points(None, None)}, is_share=False, days_apart=1) == Markup()
    assert small_line(points(None), days_apart=1) == Markup()


def test_a_chart_of_one_value_or_of_equal_ones_is_drawn() -> None:
    assert "<circle" in line_chart("x", {"NG": points("5")}, is_share=False, days_apart=1)
    assert "<polyline" in line_chart("x", {"NG": points("0", "0")}, is_share=True, days_apart=1)
    assert "<polyline" in line_chart("x", {"NG": points("-2500000", "1500000")}, is_share=False, days_apart=1)


def test_a_chart_of_two_days_names_each_once() -> None:
    drawn = line_chart("x", {"NG": points("1", "2")}, is_share=False, days_apart=1)
    assert (drawn.count(">1 Mar 2026<"), drawn.count(">2 Mar 2026<")) == (1, 1)


def test_a_meaning_in_short_is_more_than_an_abbreviation() -> None:
    assert (
        first_sentence("PAR-30: principal late / all principal. Not a count.")
        == "PAR-30: principal late / all principal"
    )
    assert first_sentence("What a month cost: advertising, agents.") == "What a month cost"
    assert first_sentence("The loan's id.") == "The loan's id"


def test_names_are_escaped() -> None:
    assert "<b>" not in line_chart("<b>", {"<b>": points("1")}, is_share=False, days_apart=1)
    assert "<b>" not in draw("<b>", [Box("<b>", "<b>", "gray", "<b>", 0)], [])
