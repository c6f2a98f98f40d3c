"""From raw to trusted: what agrees, what a rule explains, and every row that was lost, doubled or altered by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pyarrow as pa
import pytest
from dbt_lab import Lab

from activation.ops import open_ops, writing
from activation.ops.failures import standing_failures
from governance.manifest import Manifest, parse_manifest, read_manifest
from governance.reconcile import Comparison, Row, RowDifference, Totals, differing_days, name_rows, reconcile_trusted
from governance.registry import Dataset, read_registry
from lendloop.home import Home
from lendloop.project import load_manifest
from lendloop.publish import read_catalog
from lendloop.settings import load_settings
from lendloop.source_status import SourceStatus, write_status
from lendloop.zones import build_and_publish
from orchestration.cli import main
from orchestration.definitions import build_defs
from orchestration.instance import open_instance
from orchestration.lineage import load_definitions
from orchestration.names import AS_USUAL, MAIN_JOB
from orchestration.reconcile import RECONCILES
from orchestration.relay import relay_events
from orchestration.resources import Hub
from orchestration.zones import group_key, zones_asset

DAYS = (date(2026, 2, 1), date(2026, 2, 2))


def loan(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number, "client_id": number, "product_id": 1, "loan_status_id": 300, "currency_code": "NGN",
        "principal_amount": 1000, "principal_disbursed_derived": 1000, "principal_repaid_derived": 0,
        "principal_outstanding_derived": 1000, "principal_writtenoff_derived": 0, "submittedon_date": DAYS[0],
        "disbursedon_date": DAYS[0], **more,
    }  # fmt: skip


def paid(number: int, loan_id: int, day: date, amount: int) -> dict[str, Any]:
    return {
        "id": number, "loan_id": loan_id, "is_reversed": False, "transaction_type_enum": 2, "transaction_date": day,
        "amount": amount, "principal_portion_derived": amount,
    }  # fmt: skip


def movements() -> pa.Table:
    """Five an hour on either account since January; the first account's from 06:00 to 18:00 of a day are not there."""
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        return connection.sql(
            "select row_number() over () as id, account as savings_account_id, 1 + number % 2 as transaction_type_enum,"
            " false as is_reversed, cast(moment as date) as transaction_date, cast(1000 + number as decimal(19, 6)) as amount,"
            " moment as created_on_utc from (select unnest(generate_series(timestamptz '2026-01-12 00:30:00+00',"
            " timestamptz '2026-03-01 22:30:00+00', interval 1 hour)) as moment), (select unnest([1, 2]) as account),"
            " (select unnest(range(5)) as number) where not (account = 1"
            " and moment between timestamptz '2026-02-24 05:00:00+00' and timestamptz '2026-02-24 17:00:00+00')"
        ).to_arrow_table()


@pytest.fixture(scope="module")
def built(make_lab: Callable[[str], Lab]) -> Lab:
    """Three loans and their transactions, one of which is of a loan that is nowhere; applications, one archived.

    Two markets have five movements an hour on their accounts, of which one did not give those of half a day.
    """
    lab = make_lab("lender")
    lab.load("raw_ledger.m_office", [{"id": 1, "external_id": "NG"}, {"id": 2, "external_id": "GH"}])
    clients = [{"id": number, "office_id": office} for number, office in ((1, 1), (2, 1), (3, 1), (4, 2))]
    lab.load("raw_ledger.m_client", clients)
    accounts = [{"id": 1, "client_id": 1, "currency_code": "NGN"}, {"id": 2, "client_id": 4, "currency_code": "GHS"}]
    lab.load("raw_ledger.m_savings_account", accounts)
    lab.load("raw_ledger.m_savings_account_transaction", movements())
    lab.load("raw_ledger.m_loan", [loan(number) for number in (1, 2, 3)])
    transactions = [paid(10 * number, 1 + number % 3, DAYS[number % 2], 100 + number) for number in range(1, 9)]
    lab.load("raw_ledger.m_loan_transaction", [*transactions, paid(99, 404, DAYS[1], 7)])
    deals = [
        {"id": str(number), "contact_id": "1", "stage": "applied", "is_archived": number == 2} for number in (1, 2)
    ]
    lab.load("raw_crm.deals", [deal | {"created_at": datetime(2026, 2, 1, 9, tzinfo=UTC)} for deal in deals])
    cost = {"month": DAYS[0], "market": "NG", "currency": "NGN", "kind": "funding", "amount": 10}
    lab.load(
        "raw_costs.cost", [cost | {"id": "a"}, cost | {"id": "b", "kind": "fun"}, cost | {"id": "c", "amount": None}]
    )
    settings = load_settings(LENDLOOP_HOME=lab.folder, as_of="2026-03-01")
    assert build_and_publish(settings, settings.clock()).failures == []
    return lab


@pytest.fixture(scope="module")
def datasets(built: Lab) -> dict[str, Dataset]:
    manifest: Manifest = read_manifest(built.home)
    return read_registry(manifest)


@pytest.fixture
def warehouse(built: Lab, tmp_path: Path) -> duckdb.DuckDBPyConnection:
    path = shutil.copy(built.warehouse, tmp_path / "warehouse.duckdb")
    connection = duckdb.connect(str(path))
    connection.execute("set timezone = 'UTC'")
    return connection


def compare(
    connection: duckdb.DuckDBPyConnection, built: Lab, datasets: dict[str, Dataset], on: date | None = None
) -> dict[str, Comparison]:
    built_at = read_catalog(built.home).built_at
    return {one.right: one for one in reconcile_trusted(connection, built.home, datasets, built_at, on)}


def test_all_agrees_and_what_a_rule_leaves_out_is_explained_by_its_name(
    warehouse: duckdb.DuckDBPyConnection, built: Lab, datasets: dict[str, Dataset]
) -> None:
    found = compare(warehouse, built, datasets)
    assert set(found) == {
        "trusted.fct_loan", "trusted.fct_loan_transaction", "trusted.fct_installment",
        "trusted.fct_account_transaction", "trusted.fct_application", "trusted.fct_ticket", "trusted.fct_cost",
    }  # fmt: skip
    assert [fault for one in found.values() for fault in one.faults()] == []
    by_day = {day.day: day for day in found["trusted.fct_loan_transaction"].days}
    assert by_day[DAYS[0]].state == "agreed"
    assert (by_day[DAYS[1]].state, by_day[DAYS[1]].explained) == ("explained", {"loan_not_in_trusted": 1})
    assert by_day[DAYS[1]].left == by_day[DAYS[1]].right
    assert found["trusted.fct_application"].days[0].explained == {"archived": 1}
    assert [(day.day, day.left.sums, day.explained) for day in found["trusted.fct_cost"].days] == [
        (DAYS[0], (10,), {"of_no_known_kind": 1, "lacks_a_value": 1})
    ]


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ("delete from {t} where loan_transaction_id = 20", RowDifference("20", "lost")),
        ("insert into {t} select * from {t} where loan_transaction_id = 20", RowDifference("20", "doubled")),
        ("update {t} set amount = amount + 1 where loan_transaction_id = 20", RowDifference("20", "altered", ("amount",))),
        ("update {t} set transaction_date = date '2026-02-02' where loan_transaction_id = 20",
         RowDifference("20", "altered", ("transaction_date",))),
        ("insert into {t} select * replace (500 as loan_transaction_id) from {t} limit 1", RowDifference("500", "added")),
    ],
)  # fmt: skip
def test_a_row_that_changed_on_the_way_is_named(
    warehouse: duckdb.DuckDBPyConnection,
    built: Lab,
    datasets: dict[str, Dataset],
    change: str,
    difference: RowDifference,
) -> None:
    table = "trusted.fct_loan_transaction"
    warehouse.execute(f"create table copied as from {table}; drop table {table}; create table {table} as from copied")
    warehouse.execute(change.format(t=table))
    found = compare(warehouse, built, datasets)[table]
    assert {row for day in found.unexplained for row in day.differences} == {difference}
    [fault] = found.faults()[:1]
    assert f"{difference.kind} {difference.key}" in fault


def test_amounts_that_two_rows_swapped_do_not_cancel_out(
    warehouse: duckdb.DuckDBPyConnection, built: Lab, datasets: dict[str, Dataset]
) -> None:
    warehouse.execute(
        "update trusted.fct_loan_transaction set amount = 208 - amount where loan_transaction_id in (20, 60)"
    )
    found = compare(warehouse, built, datasets)["trusted.fct_loan_transaction"]
    [day] = found.unexplained
    assert day.left.sums == day.right.sums
    assert [row.key for row in day.differences] == ["20", "60"]


def test_what_was_loaded_after_the_build_waits_for_the_next(
    warehouse: duckdb.DuckDBPyConnection, built: Lab, datasets: dict[str, Dataset]
) -> None:
    table = "raw_ledger.m_loan_transaction"
    warehouse.execute(f"update {table} set amount = 1, _loaded_at = now() where id = 20")
    warehouse.execute(f"insert into {table} select * replace (501 as id, now() as _loaded_at) from {table} limit 1")
    found = compare(warehouse, built, datasets)["trusted.fct_loan_transaction"]
    assert found.faults() == []
    assert sum(day.explained.get("not_built_yet", 0) for day in found.days) == 2


def test_one_day_can_be_asked_for(
    warehouse: duckdb.DuckDBPyConnection, built: Lab, datasets: dict[str, Dataset]
) -> None:
    found = compare(warehouse, built, datasets, DAYS[1])["trusted.fct_loan_transaction"]
    assert [day.day for day in found.days] == [DAYS[1]]


def test_sides_are_compared_by_count_sums_and_hash() -> None:
    one = Totals(2, (), 7)
    assert differing_days({DAYS[0]: one}, {DAYS[0]: Totals(2, (), 7)}) == []
    assert differing_days({DAYS[0]: one, None: one}, {DAYS[0]: Totals(2, (), 8)}) == [DAYS[0], None]
    assert differing_days({DAYS[0]: Totals(2)}, {DAYS[0]: Totals(2, (), 8)}) == [], "one side has no hash"


def test_a_row_that_lost_one_of_its_copies_is_lost() -> None:
    row = Row("1", (DAYS[0],))
    assert name_rows([row, row], [row], ["day"]) == [RowDifference("1", "lost")]


def test_the_command_and_the_check_name_the_row(
    built: Lab,
    tmp_path: Path,
    clean_environment: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = tmp_path / "home"
    built.copy(home)
    clean_environment.setenv("LENDLOOP_HOME", str(home))
    clean_environment.setenv("LENDLOOP_AS_OF", "2026-03-01")

    groups = ("portfolio", "crm", "support", "customer")

    def checks() -> dict[str, Any]:
        defs = build_defs()
        job = defs.resolve_job_def(MAIN_JOB)
        assert "reconcile" in {node.name for node in job.nodes}, "a pass does it"
        selection = [dg.AssetCheckKey(group_key(group), RECONCILES) for group in groups]
        subset = job.get_subset(asset_selection=set(), asset_check_selection=set(selection))
        result = subset.execute_in_process()
        return {one.asset_key.path[1]: one for one in result.get_asset_check_evaluations()}

    assert {name: one.passed for name, one in checks().items()} == dict.fromkeys(groups, True)
    with pytest.raises(SystemExit) as left:
        main(["reconcile", "--json"])
    assert left.value.code == 0
    capsys.readouterr()

    with duckdb.connect(str(home / "warehouse.duckdb")) as connection:
        connection.execute("delete from trusted.fct_loan_transaction where loan_transaction_id = 20")
    assert checks()["portfolio"].passed, "nothing was built since, so nothing is looked at again"
    (home / "dbt" / "reconciled.json").unlink()
    found = checks()
    assert (found["portfolio"].passed, found["crm"].passed) == (False, True)
    assert "lost 20" in str(found["portfolio"].metadata["errors"].value)
    clean_environment.setenv("LENDLOOP_LEDGER_URL", "postgresql://nobody:nothing@127.0.0.1:1/none")
    with pytest.raises(SystemExit) as left:
        main(["reconcile", "--on", "2026-02-02"])
    assert left.value.code == 1, "a source that does not answer is no agreement"
    clean_environment.delenv("LENDLOOP_LEDGER_URL")
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main(["reconcile", "--on", "2026-02-01"])
    assert left.value.code == 1
    assert "lost 20" in capsys.readouterr().out


def test_half_a_day_that_never_came_is_named_though_all_stages_agree(
    built: Lab, tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path / "home")
    built.copy(home.root)
    clean_environment.setenv("LENDLOOP_HOME", str(home.root))
    clean_environment.setenv("LENDLOOP_AS_OF", "2026-03-01")
    settings = load_settings()
    clock = settings.clock()
    write_status(home, SourceStatus(source="ledger", configured=True, succeeded_as_of=clock.as_of))
    manifest = load_manifest(home)
    step = zones_asset(manifest, read_registry(parse_manifest(manifest)), load_definitions(settings).graph)
    with open_instance(settings) as instance:
        result = dg.materialize([step], resources={"hub": Hub()}, instance=instance)
        [found] = [one for one in result.get_asset_check_evaluations() if one.check_name == AS_USUAL]
        relay_events(instance, settings, clock)
    assert (found.asset_key.path, found.passed) == (["trusted", "fct_account_transaction"], False), (
        "others have no verdict"
    )
    assert found.severity is dg.AssetCheckSeverity.WARN
    named = "NG: 0 rows from 2026-02-24 06:00 to 2026-02-24 18:00 Africa/Lagos, usual are "
    said = str(found.metadata["errors"].value)
    assert said.startswith(named)
    assert "data-platform: compare with the source (`lendloop reconcile --on 2026-02-24`)" in said
    with writing(open_ops(settings)) as connection:
        [row] = standing_failures(connection)
    assert row.key == "check:trusted/fct_account_transaction:as_usual"
    assert named in row.message
    assert row.datasets == [], "a hint holds no rule back"
    assert result.success
    assert read_catalog(home).groups["portfolio"].state == "fresh", "it is published all the same"
