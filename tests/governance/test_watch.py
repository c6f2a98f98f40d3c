"""The watch over published datasets: which market, since when, and when there is no verdict."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest
from small_project import SmallProject

from governance.manifest import Manifest
from governance.registry import Dataset, judge_registry, read_registry
from governance.watch import Verdict, sources_of, watch
from lendloop.clock import Clock
from lendloop.home import Home
from lendloop.publish import Catalog, GroupState, PublishedTable, write_catalog
from lendloop.source_status import SourceStatus, write_status

LOAN = "trusted.fct_loan"
NOON = datetime(2026, 3, 12, 12, tzinfo=UTC)
COLUMNS = {
    "created_at": "timestamp with time zone", "submitted_on": "date", "market": "varchar", "kind": "varchar",
    "principal_owed": "decimal(19,6)", "currency": "varchar",
}  # fmt: skip
WATCHED = {
    "time": "created_at",
    "by": "market",
    "shares": ["kind"],
    "filled": ["person_key"],
    "amounts": ["principal_owed"],
}


@pytest.fixture
def project(project: SmallProject) -> SmallProject:
    """Its loans are watched."""
    for name, data_type in COLUMNS.items():
        project.column(name)
        project.loan["columns"][name]["data_type"] = data_type
    project.loan["config"]["meta"]["completeness"] = {}
    project.loan["config"]["meta"]["watched"] = WATCHED
    project.loan["depends_on"] = {"nodes": ["source.loan"]}
    return project


@dataclass
class Published:
    """A home with one published dataset: 8 loans an hour in each of two markets, for ten weeks until `NOON`."""

    home: Home
    manifest: Manifest
    datasets: dict[str, Dataset]
    version: int = 0

    def change(self, sql: str) -> None:
        with duckdb.connect(str(self.home.published)) as connection:
            connection.execute("set timezone = 'UTC'")
            connection.execute(sql)

    def publish(self, state: str = "fresh", published_as_of: datetime = NOON) -> None:
        self.version += 1
        group = GroupState(state=state, published_as_of=published_as_of)
        table = PublishedTable(
            group="portfolio", version=self.version, rows=1, published_as_of=published_as_of, files=[]
        )
        built_at = datetime(2026, 3, 12, tzinfo=UTC) + timedelta(minutes=self.version)
        write_catalog(self.home, Catalog(built_at=built_at, groups={"portfolio": group}, tables={LOAN: table}))

    def read(self, until: datetime | None) -> None:
        write_status(self.home, SourceStatus(source="ledger", configured=True, succeeded_as_of=until))

    def look(self, as_of: datetime = NOON) -> Verdict:
        return watch(self.home, self.datasets, self.manifest, Clock(as_of))[LOAN]


@pytest.fixture(scope="module")
def ten_weeks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "published.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("set timezone = 'UTC'; create schema trusted")
        connection.execute(
            f"""
            create table {LOAN} as
            select
                row_number() over () as loan_id, moment as created_at, cast(moment as date) as submitted_on, market,
                if(number % 2 = 0, 'new', 'again') as kind, cast(1000 + 100 * number as decimal(19, 6)) as principal_owed,
                currency, if(number = 7, null, 'somebody') as person_key
            from (select unnest(generate_series($until - interval 70 days, $until - interval 1 hour, interval 1 hour)) as moment),
                (select unnest(range(8)) as number),
                (select unnest(['NG', 'BR']) as market, unnest(['NGN', 'BRL']) as currency)
            """,
            {"until": NOON},
        )
    return path


@pytest.fixture
def published(project: SmallProject, ten_weeks: Path, tmp_path: Path) -> Published:
    home = Home(tmp_path).prepare()
    shutil.copy(ten_weeks, home.published)
    one = Published(home, project.manifest, read_registry(project.manifest))
    one.publish()
    one.read(NOON)
    return one


def gone(market: str, since: datetime, hours: int) -> str:
    return (
        f"delete from {LOAN} where market = '{market}' and created_at >= timestamptz '{since}'"
        f" and created_at < timestamptz '{since + timedelta(hours=hours)}'"
    )


def test_what_came_as_in_the_weeks_before_is_as_usual(published: Published) -> None:
    verdict = published.look()
    assert (verdict.rows_judged, verdict.values_judged, verdict.findings, verdict.not_judged) == (True, True, [], {})
    assert verdict.error("data-platform") == ""


def test_half_a_day_that_is_missing_in_one_market_is_named_in_its_own_time(published: Published) -> None:
    published.change(gone("BR", datetime(2026, 3, 11, 3, tzinfo=UTC), 12))
    verdict = published.look()
    (finding,) = verdict.findings
    assert (finding.of, finding.found, finding.time_zone) == ("BR", 0, "America/Sao_Paulo")
    assert finding.since.isoformat() == "2026-03-11T00:00:00"
    assert "BR: 0 rows from 2026-03-11 00:00 to 2026-03-11 12:00 America/Sao_Paulo, usual are " in str(finding)
    assert "data-platform: compare with the source (`lendloop reconcile --on 2026-03-11`)" in verdict.error(
        "data-platform"
    )


def test_a_period_is_judged_once_every_source_was_read_past_its_end(published: Published) -> None:
    published.change(gone("NG", NOON - timedelta(hours=13), 13))
    published.read(NOON - timedelta(hours=13))
    assert published.look().findings == [], "the ledger was not read since: that is a failure of its own"
    published.read(NOON)
    (finding,) = published.look().findings
    assert (finding.of, finding.until.isoformat()) == ("NG", "2026-03-12T12:00:00")


def test_rows_are_not_missed_in_an_older_version_that_is_still_published(published: Published) -> None:
    published.change(gone("NG", NOON - timedelta(hours=13), 13))
    published.publish("stale", NOON - timedelta(hours=13))
    assert published.look().findings == []
    published.publish()
    assert published.look().findings != []


def test_it_is_as_usual_again_when_the_rows_have_come(published: Published) -> None:
    published.change(f"create table kept as from {LOAN}")
    published.change(gone("NG", datetime(2026, 3, 11, tzinfo=UTC), 12))
    assert published.look().findings != []
    published.change(f"drop table {LOAN}; create table {LOAN} as from kept")
    assert published.look().findings != [], "nothing was built and no hour read since, so nothing is looked at again"
    published.publish()
    assert published.look().findings == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("set principal_owed = principal_owed * 100", "NG: a typical principal_owed in NGN is "),
        ("set kind = 'new'", "NG: kind is "),
        ("set kind = 'lost'", "NG: kind is "),
        ("set person_key = null", "NG: person_key is filled in 0.2% on 2026-03-11, usual are "),
    ],
)
def test_a_day_with_other_values_is_found(published: Published, change: str, said: str) -> None:
    published.change(
        f"update {LOAN} {change} where market = 'NG' and cast(created_at + interval 1 hour as date) = date '2026-03-11'"
    )
    (finding,) = published.look().findings
    assert str(finding).startswith(said)
    assert " on 2026-03-11, usual are " in str(finding)


def test_of_several_days_with_other_values_the_furthest_is_said_with_its_number(published: Published) -> None:
    for day, some in (("2026-03-06", "true"), ("2026-03-10", "loan_id % 4 = 0")):
        published.change(
            f"update {LOAN} set person_key = null where market = 'NG' and {some}"
            f" and cast(created_at + interval 1 hour as date) = date '{day}'"
        )
    (finding,) = published.look().findings
    assert str(finding).startswith("NG: person_key is filled in 0.2% on 2026-03-06, usual are ")


def test_a_dataset_with_dates_alone_is_watched_by_days(published: Published, project: SmallProject) -> None:
    project.loan["config"]["meta"]["watched"] = {"time": "submitted_on"}
    published.datasets = read_registry(project.manifest)
    assert published.look().findings == []
    published.change(f"delete from {LOAN} where submitted_on = date '2026-03-11' and loan_id % 10 > 1")
    published.publish()
    (finding,) = published.look().findings
    assert str(finding).startswith("all: 64 rows on 2026-03-11, usual are ")


def test_without_enough_of_a_past_there_is_no_verdict_and_it_says_why(published: Published) -> None:
    published.change(f"delete from {LOAN} where created_at < timestamptz '{NOON - timedelta(weeks=3)}'")
    verdict = published.look()
    assert not verdict.judged
    assert verdict.not_judged["NG"] == "its rows begin on 2026-02-20"
    published.change(f"delete from {LOAN}")
    published.publish()
    assert published.look().not_judged == {"all": "it has no rows yet"}
    published.read(None)
    assert published.look().not_judged == {"all": "a source of it was never read"}


def test_a_column_of_many_values_is_not_judged(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("governance.watch.MOST_GROUPS", 700)
    published.change(f"update {LOAN} set kind = cast(loan_id as varchar)")
    verdict = published.look()
    assert verdict.not_judged == {"kind": "it has too many values"}
    assert verdict.rows_judged


def test_a_dataset_that_is_watched_by_a_column_of_many_values_is_not_judged(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("governance.watch.MOST_GROUPS", 400)
    assert published.look() == Verdict(not_judged={"all": "it has too many values"})


def test_a_published_version_without_a_column_is_not_judged(published: Published) -> None:
    published.change(f"alter table {LOAN} drop column kind")
    assert published.look().not_judged == {"all": "the version that is published has no kind"}


def test_a_dataset_waits_for_the_sources_that_it_is_made_of(project: SmallProject, manifest: Manifest) -> None:
    loan = read_registry(project.manifest)[LOAN]
    assert sources_of(loan, project.manifest) == {"ledger"}
    datasets = read_registry(manifest)
    assert sources_of(datasets["trusted.fct_ticket"], manifest) == {"support"}, "the table of raw that it holds"
    assert sources_of(datasets["trusted.map_customer_source"], manifest) >= {"ledger", "crm", "support"}


def test_where_rows_arrive_first_they_are_watched(manifest: Manifest) -> None:
    watched = {key for key, one in read_registry(manifest).items() if one.parameters.watched}
    assert watched >= {
        "trusted.fct_loan_transaction", "trusted.fct_account_transaction", "trusted.fct_application",
        "trusted.fct_ticket", "trusted.map_customer_source",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"time": "seen_at"}, "watched names a column seen_at that it does not have; correct the name"),
        ({"time": "kind"}, "watched.time kind is neither a date nor an instant; name one that is"),
        ({"shares": ["person_key"]}, "watched would show person_key, which leads to a person; remove it"),
        ({"by": "person_key"}, "watched would show person_key, which leads to a person; remove it"),
        ({"colour": "blue"}, "watched.colour is no key of meta; remove it"),
        ({"shares": "kind"}, "watched.shares is 'kind': Input should be a valid list; it is "),
    ],
)
def test_what_is_wrong_with_what_is_watched_is_named(
    project: SmallProject, change: dict[str, object], fault: str
) -> None:
    project.loan["config"]["meta"]["watched"] = WATCHED | change
    (found,) = judge_registry(project.manifest)[1]
    assert f"models/fct_loan.yml: fct_loan: {fault}" in str(found)


def test_amounts_are_watched_by_currency(project: SmallProject) -> None:
    del project.loan["columns"]["currency"]
    (found,) = judge_registry(project.manifest)[1]
    assert "fct_loan: watched has amounts, but there is no column currency" in str(found)


def test_contact_data_is_not_watched(project: SmallProject) -> None:
    project.loan["schema"] = "contacts"
    assert any(
        "watched is declared, but contact data is not looked at" in str(one)
        for one in judge_registry(project.manifest)[1]
    )
