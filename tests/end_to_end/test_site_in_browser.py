"""The site of an installation after a pass, as people meet it: in a browser, wide and narrow, opened from its folder."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.end_to_end.installation import Installation

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.slow
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian's package chromium)")
PHONE, DESK = 390, 1280
PAGES = (
    "index.html",
    "dictionary.html",
    "terms/par_30.html",
    "terms/ltv.html",
    "kpis.html",
    "kpis/fpd_7.html",
    "kpis/written_off_amount.html",
    "datasets.html",
    "datasets/trusted.fct_loan.html",
    "datasets/kpi.kpi_unit_economics_monthly.html",
    "datasets/raw_ledger.m_savings_account_transaction.html",
    "lineage.html",
    "sources.html",
    "consumers.html",
)


@pytest.fixture(scope="module")
def site(loaded: Installation) -> Path:
    done = loaded.lendloop("site")
    assert done.returncode == 0, done.stderr[-2000:]
    folder = loaded.home / "site"
    assert done.stdout.strip() == (folder / "index.html").as_uri()
    return folder


@pytest.fixture
def page() -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"],
        )
        opened = browser.new_page()
        opened.set_default_timeout(60_000)
        yield opened
        browser.close()


def test_the_figures_are_those_that_are_published(loaded: Installation, site: Path) -> None:
    (rows,) = loaded.query("select count(*) from trusted.fct_loan")[0]
    loans = (site / "datasets" / "trusted.fct_loan.html").read_text()
    assert f"<dt>rows</dt><dd>{rows:,}</dd>" in loans
    assert 'class="badge state fresh">fresh' in loans
    amounts = loaded.query(
        "select currency, sum(written_off_amount) from kpi.kpi_portfolio_daily"
        " where as_of_date = (select max(as_of_date) from kpi.kpi_portfolio_daily) group by 1"
    )
    written_off = (site / "kpis" / "written_off_amount.html").read_text()
    assert len(amounts) > 1
    assert [row for row in amounts if f"{row[1]:,.2f} {row[0]}" not in written_off] == []
    assert written_off.count('<svg class="chart"') == len(amounts), "one chart a currency, never one for all"


def test_no_person_and_no_path_of_the_machine_stands_on_a_page(loaded: Installation, site: Path) -> None:
    text = "\n".join(file.read_text() for file in site.rglob("*") if file.suffix in (".html", ".js"))
    people = loaded.query(
        "select address from contacts.contacts.customer_contact union select first_name || ' ' || last_name"
        " from contacts.contacts.customer_profile where last_name is not null",
        catalogue="contacts.duckdb",
    )
    assert len(people) > 300
    keys = loaded.query("select person_key from trusted.dim_customer")
    assert [value for (value,) in [*people, *keys] if value in text] == []
    assert str(loaded.home.parent) not in text
    assert not re.search(r"https?://", text.replace("http://www.w3.org/2000/svg", ""))


def test_without_a_publication_there_are_definitions_alone(tmp_path: Path) -> None:
    empty = Installation(tmp_path / "home")
    done = empty.lendloop("site", "--out", str(tmp_path / "pages"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "nothing is published yet" in (tmp_path / "pages" / "index.html").read_text()
    assert "<svg" not in (tmp_path / "pages" / "kpis" / "par_30.html").read_text()


@NEEDS_CHROMIUM
def test_no_page_scrolls_sideways_and_none_fetches_anything(site: Path, page: Page) -> None:
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    for width in (PHONE, 720, 920, DESK):
        page.set_viewport_size({"width": width, "height": 800})
        for name in PAGES:
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} at {width}"
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert faults == []


@NEEDS_CHROMIUM
@pytest.mark.parametrize(
    ("typed", "page_of"),
    [
        ("outstnading principle", "terms/outstanding_principal.html"),
        ("PAR30", "terms/par_30.html"),
        ("ltv", "terms/ltv.html"),
        ("fct_laon", "datasets/trusted.fct_loan.html"),
    ],
)
def test_the_search_finds_a_misspelt_word_by_keyboard_alone(site: Path, page: Page, typed: str, page_of: str) -> None:
    page.goto((site / "datasets" / "trusted.fct_ticket.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type(typed)
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    assert page.locator("#site-search").get_attribute("aria-activedescendant") == "site-found-0"
    page.keyboard.press("Enter")
    page.wait_for_url((site / page_of).as_uri())


@NEEDS_CHROMIUM
def test_a_word_like_nothing_is_answered_and_escape_leaves(site: Path, page: Page) -> None:
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type("zzzzqqqq")
    page.get_by_text("Nothing is like it.").wait_for()
    page.keyboard.press("Escape")
    page.locator("#site-found").wait_for(state="hidden")


@NEEDS_CHROMIUM
def test_pointing_at_a_dataset_shows_its_ways_and_opening_it_its_page(site: Path, page: Page) -> None:
    page.set_viewport_size({"width": DESK, "height": 900})
    page.goto((site / "lineage.html").as_uri())
    box = page.locator('.box[data-key="trusted.fct_ticket"]')
    box.focus()
    near = page.locator(".box.near").evaluate_all("boxes => boxes.map(box => box.dataset.key)")
    assert {"raw_support.tickets", "rules.ticket_backlog", "trusted.fct_ticket"} <= set(near)
    assert "kpi.kpi_vintage_loss" not in near
    page.keyboard.press("Enter")
    page.wait_for_url((site / "datasets" / "trusted.fct_ticket.html").as_uri())
