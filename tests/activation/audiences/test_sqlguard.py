from __future__ import annotations

import pytest

from activation.sqlguard import guard_sql
from lendloop.errors import ConfigurationError

WHERE = "audiences/x.yaml: sql"


def test_a_select_over_trusted_and_kpi_passes_with_its_tables_parameters_and_columns() -> None:
    query = guard_sql(
        "with a as (select person_key from trusted.fct_loan where closed_on < $as_of)"
        " select a.person_key, k.par_30 as ratio from a, kpi.kpi_portfolio_daily k order by all;",
        WHERE,
        parameters=("as_of",),
        catalogue={"trusted.fct_loan", "kpi.kpi_portfolio_daily"},
    )
    assert query.tables == ("kpi.kpi_portfolio_daily", "trusted.fct_loan")
    assert query.parameters == ("as_of",)
    assert query.columns == ("person_key", "ratio")
    assert not query.sql.endswith(";")


@pytest.mark.parametrize(
    "sql",
    [
        "select 1; select 2",
        "",
        "insert into trusted.t select 1",
        "delete from trusted.t",
        "drop table trusted.t",
        "create table x as select * from trusted.t",
        "attach 'x.duckdb' as x",
        "pragma database_list",
        "set threads = 1",
        "copy trusted.t to 'x.csv'",
        "install httpfs",
        "call pragma_version()",
        "describe trusted.t",
        "select * from gray.stg_x",
        "select * from raw_ledger.m_loan",
        "select * from contacts.customer_contact",
        "select * from information_schema.tables",
        "select * from other.trusted.t",
        "select * from t",
        "select * from 'x.csv'",
        "select * from \"x.csv\"",
        'select * from trusted."x.parquet"',
        'select * from "trusted.t"',
        "select * from read_parquet('x.parquet')",
        "select * from read_csv_auto('x.csv')",
        "select * from read_text('/etc/passwd')",
        "select * from glob('*')",
        "select * from query('select 1')",
        "select * from query_table('t')",
        "select * from duckdb_secrets()",
        "select * from pragma_storage_info('t')",
        "select * from trusted.t where exists (select 1 from gray.g)",
        "with a as (select * from gray.g) select * from a",
        "select (select max(x) from gray.g) from trusted.t",
        "select * from trusted.t union all select * from gray.g",
        'with "x.csv" as (select 1) select * from "x.csv"',
        "select getenv('HOME') from trusted.t",
        "select current_setting('threads') from trusted.t",
        "select current_date from trusted.t",
        "select now() from trusted.t",
        "select today() from trusted.t",
        "select random() from trusted.t",
        "select * from trusted.t where x = ?",
        "select * from trusted.t where x = $unknown",
        "select * from trusted.t where x = $1",
        "select from where",
        "select * from (from 'x.csv')",
        "select * from trusted.t join 'x.csv' on true",
        "select * from trusted.t, lateral (select * from read_csv('x'))",
        "select * from sqlite_scan('a', 'b')",
    ],
)  # fmt: skip
def test_what_reaches_around_the_zones_is_refused_naming_the_file(sql: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        guard_sql(sql, WHERE, parameters=("as_of",))
    assert str(refusal.value).startswith(WHERE)
    assert "\n" not in str(refusal.value)


def test_a_table_that_the_catalogue_lacks_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no such table: trusted\.fct_lone"):
        guard_sql("select 1 from trusted.fct_lone", WHERE, catalogue={"trusted.fct_loan"})
