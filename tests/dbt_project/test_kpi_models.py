"""KPIs of a pretend lender against SQL written from the company's definitions alone, over raw.

What belongs here: the second opinion, MetricFlow's answers, and what is blank. Cases computed by hand are unit tests of
the models (models/trusted/portfolio/_unit_tests_kpi_parts.yml).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from dbt_lab import Lab
from metricflow_sql import MetricFlow
from world_raw import load_world

from governance.kpi_rows import explain
from governance.kpis import Kpi, read_kpis
from lendloop.home import Home
from sandbox.world import World

LAST_DAY, NEXT_DAY = date(2026, 6, 30), date(2026, 7, 1)

LENT = """
create temp view lent as
select l.id as loan_id, l.client_id, o.external_id as market, l.product_id, l.currency_code as currency, l.loan_status_id,
  l.disbursedon_date as lent_on, l.closedon_date as closed_on, l.writtenoffon_date as lost_on,
  l.principal_disbursed_derived as lent, l.principal_outstanding_derived as owed, l.principal_writtenoff_derived as lost,
  l.charged_off_on_date as charged_off_on
from raw_ledger.m_loan l join raw_ledger.m_client c on c.id = l.client_id join raw_ledger.m_office o on o.id = c.office_id
where l.disbursedon_date is not null;
create temp view moved as
select loan_id, transaction_type_enum as kind, transaction_date as day, amount, coalesce(principal_portion_derived, 0) as principal,
  coalesce(interest_portion_derived, 0) as interest,
  coalesce(fee_charges_portion_derived, 0) + coalesce(penalty_charges_portion_derived, 0) as fees
from raw_ledger.m_loan_transaction where not is_reversed and loan_id in (select loan_id from lent);
create temp view scheduled as
select loan_id, installment, duedate as due, obligations_met_on_date as met, completed_derived as done,
  coalesce(principal_writtenoff_derived, 0) as forgiven
from raw_ledger.m_loan_repayment_schedule;
create temp view month_end as
select cast(last_day(m) as date) as day, cast(m as date) as month
from generate_series(timestamp '2025-01-01', timestamp '2026-06-01', interval 1 month) t(m);
create temp table balance as
select e.month, e.day, l.loan_id, l.market, l.product_id, l.currency,
  sum(case when m.kind = 1 then m.amount when m.kind in (2, 5, 6, 28) then -m.principal end) as owed
from month_end e join moved m on m.day <= e.day join lent l using (loan_id)
group by all having owed > 0;
create temp table bucket as
select b.*, coalesce(min(b.day - s.due), 0) as youngest, coalesce(max(b.day - s.due), 0) as late,
  case when late = 0 then 'current' when late < 8 then '1-7' when late < 31 then '8-30' when late < 61 then '31-60'
    when late < 91 then '61-90' else '91+' end as bucket
from balance b left join scheduled s on s.loan_id = b.loan_id and s.due < b.day and (not s.done or s.met > b.day)
group by all;
create temp table earned as
select e.month, l.loan_id, l.market, l.product_id, l.currency,
  coalesce(sum(m.interest) filter (where m.kind = 2), 0) as interest, coalesce(sum(m.fees) filter (where m.kind = 2), 0) as fees,
  coalesce(sum(m.amount) filter (where m.kind = 8), 0) as back,
  coalesce(max(case when coalesce(l.charged_off_on, l.lost_on) between e.month and e.day
    then case when l.lost > 0 then l.lost else l.owed end end), 0) as lost
from month_end e join lent l on l.lent_on <= e.day left join moved m on m.loan_id = l.loan_id and m.day between e.month and e.day
group by all;
create temp table outstanding as
select e.month, l.loan_id, l.market, l.product_id, l.currency, sum(x.owed) as days
from (
  select d.day, m.loan_id, sum(case when m.kind = 1 then m.amount when m.kind in (2, 5, 6, 28) then -m.principal end) as owed
  from (select cast(d as date) as day from generate_series(timestamp '2025-06-01', timestamp '2026-06-30', interval 1 day) t(d)) d
  join moved m on m.day <= d.day group by all
) x join month_end e on x.day between e.month and e.day join lent l using (loan_id)
group by all;
create temp view person as select loan_id, person_key from trusted.fct_loan;
"""

SECOND_OPINIONS = {
    "par_30": """
        select date '2026-06-30', market, product_id, currency, sum(owed) filter (where late > 30) / sum(owed)
        from (select l.*, coalesce((select max(date '2026-06-30' - s.due) from scheduled s
                where s.loan_id = l.loan_id and s.due < date '2026-06-30' and not s.done), 0) as late
              from lent l where loan_status_id = 300) group by all""",
    "dpd_8_30_share": """
        select date '2026-06-30', market, product_id, currency, coalesce(sum(owed) filter (where late between 8 and 30), 0) / sum(owed)
        from (select l.*, coalesce((select max(date '2026-06-30' - s.due) from scheduled s
                where s.loan_id = l.loan_id and s.due < date '2026-06-30' and not s.done), 0) as late
              from lent l where loan_status_id = 300) group by all""",
    "written_off_amount": """
        select day, market, product_id, currency, sum(amount) from moved join lent using (loan_id)
        where kind = 6 and day = date '2026-06-30' group by all""",
    "fpd_7": """
        select due, market, product_id, currency, avg(case when done and forgiven = 0 and met <= due + 7 then 0 else 1 end)
        from scheduled join lent using (loan_id) where installment = 1 and due + 7 < date '2026-07-01' group by all""",
    "fpd_30_first_loans": """
        select due, market, product_id, currency, avg(case when done and forgiven = 0 and met <= due + 30 then 0 else 1 end)
        from scheduled join lent l using (loan_id) join person p using (loan_id)
        where installment = 1 and due + 30 < date '2026-07-01' and not exists (
          select 1 from lent e join person q using (loan_id)
          where q.person_key = p.person_key and (e.lent_on, e.loan_id) < (l.lent_on, l.loan_id)) group by all""",
    "roll_rate_current_to_1_7": """
        select e.month, b.market, b.product_id, b.currency, coalesce(sum(n.owed) filter (where n.bucket = '1-7'), 0) / sum(b.owed)
        from bucket b join month_end e on e.month = b.month + interval 1 month
        left join bucket n on n.loan_id = b.loan_id and n.month = e.month where b.bucket = 'current' group by all""",
    "roll_rate_31_60_to_61_90": """
        select e.month, b.market, b.product_id, b.currency, coalesce(sum(n.owed) filter (where n.bucket = '61-90'), 0) / sum(b.owed)
        from bucket b join month_end e on e.month = b.month + interval 1 month
        left join bucket n on n.loan_id = b.loan_id and n.month = e.month where b.bucket = '31-60' group by all""",
    "vintage_loss_8": """
        select cast(date_trunc('month', lent_on) as date) as cohort, market, product_id, currency,
          sum(case when coalesce(charged_off_on, lost_on) <= lent_on + 56 then case when lost > 0 then lost else owed end else 0 end
            - coalesce((select sum(amount) from moved m where m.loan_id = l.loan_id and kind = 8 and day <= lent_on + 56), 0)) / sum(lent)
        from lent l where last_day(lent_on) + 56 < date '2026-07-01' group by all""",
    "repeat_rate_30": """
        select l.closed_on, market, product_id, currency, avg(case when exists (
            select 1 from lent e join person q using (loan_id) where q.person_key = p.person_key and e.loan_id <> l.loan_id
              and e.lent_on between l.closed_on and l.closed_on + 30) then 1 else 0 end)
        from lent l join person p using (loan_id)
        where loan_status_id in (600, 700) and l.closed_on + 30 < date '2026-07-01' group by all""",
    "recovery_rate_90": """
        select w.day, market, product_id, currency, sum(coalesce((select sum(amount) from moved r
            where r.loan_id = w.loan_id and r.kind = 8 and r.day <= w.day + 90), 0)) / sum(w.amount)
        from moved w join lent using (loan_id) where w.kind = 6 and w.day + 90 < date '2026-07-01' group by all""",
    "approval_rate": """
        select d.day, d.market, d.product, avg(case when d.approved_at is not null then 1 else 0 end)
        from deal d group by all""",
    "take_up_rate": """
        select d.day, d.market, d.product, avg(case when d.accepted_at is not null then 1 else 0 end)
        from deal d where d.approved_at is not null group by all""",
}
"""By product. The first columns are the key of the kpi table; what is not there must be blank."""

BY_MARKET = {
    "customer_acquisition_cost": """
        select c.month, c.market, c.currency, sum(c.amount) / max(n.borrowers)
        from raw_costs.cost c join (
          select cast(date_trunc('month', first_on) as date) as month, market, count(*) as borrowers from (
            select arg_min(market, (lent_on, loan_id)) as market, min(lent_on) as first_on
            from lent join person using (loan_id) group by person_key) group by all
        ) n using (month, market) where c.kind in ('acquisition', 'onboarding') group by all""",
    "net_yield": """
        select month, market, currency,
          (e.interest + e.fees - e.lost + e.back - f.amount) * 365 / o.days
        from (select month, market, currency, sum(interest) as interest, sum(fees) as fees, sum(lost) as lost, sum(back) as back
              from earned group by all) e
        join (select month, market, currency, sum(days) as days from outstanding group by all) o using (month, market, currency)
        join (select month, market, currency, sum(amount) as amount from raw_costs.cost where kind = 'funding' group by all) f
          using (month, market, currency)""",
    "customer_lifetime_value_6": """
        with person_first as (
          select person_key, currency, min(lent_on) as first_on, arg_min(market, (lent_on, loan_id)) as market
          from lent join person using (loan_id) group by all),
        month_cost as (select month, market, currency, kind, sum(amount) as amount from raw_costs.cost group by all),
        base as (
          select month, market, currency, loan_id, days, 0 as late from outstanding
          union all select month, market, currency, loan_id, 0, owed from bucket where late > 7),
        loan_base as (select month, market, currency, loan_id, sum(days) as days, sum(late) as late from base group by all),
        total as (select month, market, currency, sum(days) as days, sum(late) as late from loan_base group by all),
        cost as (
          select b.month, b.loan_id, sum(c.amount * case when c.kind = 'collections' then b.late / nullif(t.late, 0) else b.days / t.days end) as cost
          from loan_base b join total t using (month, market, currency) join month_cost c using (month, market, currency)
          where c.kind in ('funding', 'servicing', 'collections') group by all),
        brought as (
          select p.person_key, p.market, p.currency, date_trunc('month', p.first_on) as cohort, date_diff('month', p.first_on, e.month) as m,
            e.interest + e.fees - e.lost + e.back - coalesce(c.cost, 0) as value
          from earned e join person using (loan_id) join person_first p using (person_key, currency)
          left join cost c using (month, loan_id))
        select cast(cohort as date), market, currency, sum(value / power(1.2, m / 12.0)) / count(distinct person_key)
        from brought where m between 0 and 6 and cohort + interval 6 month <= date '2026-06-01' group by all""",
}


@pytest.fixture(scope="module")
def lender(make_lab: Callable[[str], Lab], tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A lender on the day after its month ended, built the day before as well."""
    lab = make_lab("kpis")
    world = World.open(tmp_path_factory.mktemp("world"), customers=700)
    assert world.as_of.date() == LAST_DAY
    load_world(lab, world)
    lab.set_clock(LAST_DAY)
    lab.build()
    with lab.connect() as con:
        con.execute("create schema evening")
        con.execute("create table evening.loan as from trusted.fct_loan where status_id = 300")
        con.execute("create table evening.days as from kpi.kpi_portfolio_daily")
    lab.rows(
        "insert into raw_costs.cost by name select * replace (id || ' again' as id, date '2026-06-01' as month)"
        " from raw_costs.cost where month = date '2026-05-01'"
    )
    lab.set_clock(NEXT_DAY)
    lab.build()
    return lab


@pytest.fixture(scope="module")
def kpis(lender: Lab) -> dict[str, Kpi]:
    manifest = json.loads((lender.home.dbt / "target" / "manifest.json").read_text())
    return {kpi.name: kpi for kpi in read_kpis(manifest)}


def published(lab: Lab, kpi: Kpi, *, by_product: bool) -> dict[tuple[Any, ...], Decimal | None]:
    """The KPI's column by the key of its table, or by market from the sums."""
    keys = [kpi.period, "market", *([kpi.product] if by_product else []), *(["currency"] if kpi.has_currency else [])]
    where = " and ".join([f"{name} = '{value}'" for name, value in kpi.where.items()] or ["true"])
    shown = kpi.column if by_product else f"sum({kpi.numerator})::double / nullif(sum({kpi.denominator}), 0)::double"
    group = "" if by_product else f" group by {', '.join(keys)}"
    rows = lab.rows(f"select {', '.join(map(str, keys))}, {shown} from {kpi.table} where {where}{group}")
    return {tuple(row[:-1]): row[-1] for row in rows}


def opinion(lab: Lab, sql: str) -> dict[tuple[Any, ...], Any]:
    with lab.connect() as con:
        con.execute(LENT)
        con.execute(
            "create temp view deal as select cast(timezone(k.time_zone, d.applied_at) as date) as day, k.market,"
            " coalesce(d.product, '(none)') as product, d.approved_at, d.accepted_at"
            " from raw_crm.deals d join trusted.fct_application a on a.application_id = d.id"
            " join trusted.dim_market k on k.market = a.market"
            " where d._deleted_at is null and d.applied_at is not null and a.person_key is not null"
        )
        return {tuple(row[:-1]): row[-1] for row in con.execute(sql).fetchall()}


def assert_agree(ours: dict[tuple[Any, ...], Any], theirs: dict[tuple[Any, ...], Any]) -> None:
    assert theirs, "a second opinion without rows proves nothing"
    known = {key: float(value) for key, value in ours.items() if value is not None}
    assert known.keys() == {key for key, value in theirs.items() if value is not None}
    for key, value in known.items():
        assert value == pytest.approx(float(theirs[key]), abs=2e-6, rel=1e-6), key


@pytest.mark.parametrize(
    "name", [name for name in SECOND_OPINIONS if name not in ("par_30", "dpd_8_30_share", "written_off_amount")]
)
def test_a_kpi_by_product_is_what_its_definition_says(name: str, lender: Lab, kpis: dict[str, Kpi]) -> None:
    assert_agree(published(lender, kpis[name], by_product=True), opinion(lender, SECOND_OPINIONS[name]))


@pytest.mark.parametrize("name", ["par_30", "dpd_8_30_share", "written_off_amount"])
def test_a_stock_is_that_of_the_evening(name: str, lender: Lab, kpis: dict[str, Kpi]) -> None:
    evening = {
        key: value for key, value in published(lender, kpis[name], by_product=True).items() if key[0] == LAST_DAY
    }
    theirs = opinion(lender, SECOND_OPINIONS[name])
    filled = {key: theirs.get(key) or 0 for key in evening}
    assert theirs.keys() <= evening.keys()
    assert_agree(evening, filled)


@pytest.mark.parametrize("name", BY_MARKET)
def test_a_kpi_that_needs_costs_is_what_its_definition_says(name: str, lender: Lab, kpis: dict[str, Kpi]) -> None:
    assert_agree(published(lender, kpis[name], by_product=False), opinion(lender, BY_MARKET[name]))


def test_every_kpi_has_a_second_opinion_of_its_definition(kpis: dict[str, Kpi]) -> None:
    counted = {kpi.column for kpi in kpis.values() if kpi.unit == "count"}
    alike = {"par_1", "par_7", "par_60", "par_90"} | {
        kpi.column for kpi in kpis.values() if kpi.column.startswith("dpd_")
    }
    judged = {kpis[name].column for name in (*SECOND_OPINIONS, *BY_MARKET)}
    assert {kpi.column for kpi in kpis.values()} - counted - alike <= judged


def test_a_month_s_end_looked_back_at_is_what_its_evening_said(lender: Lab) -> None:
    differing = lender.rows(
        "select e.loan_id, e.principal_outstanding, m.closing_principal, e.dpd_bucket, m.closing_dpd_bucket"
        " from (from evening.loan where principal_outstanding > 0) e full join"
        " (from trusted.fct_loan_month where calendar_month = date '2026-06-01' and closing_principal > 0) m using (loan_id)"
        " where (e.principal_outstanding, e.dpd_bucket) is distinct from (m.closing_principal, m.closing_dpd_bucket)"
    )
    assert differing == []
    assert lender.one("select count(*) from evening.loan") > 100


def test_roll_rates_from_a_bucket_lose_what_was_paid_and_gain_nothing(lender: Lab) -> None:
    total = (
        "select sum(rolled_principal) as rolled, max(opening_bucket_principal) as opening"
        " from kpi.kpi_roll_rate group by calendar_month, market, product_id, currency, from_bucket"
    )
    assert lender.one(f"select count(*) from ({total}) where rolled > opening") == 0
    assert (
        lender.one(
            "select count(*) from (select 1 from kpi.kpi_roll_rate group by calendar_month, market, product_id, currency, from_bucket having count(*) <> 6)"
        )
        == 0
    )


def test_costs_are_shared_to_the_last_coin(lender: Lab) -> None:
    rows = lender.rows(
        "select sum(f.amount), sum(a.amount) from"
        " (select market, calendar_month, sum(cost_amount) as amount from trusted.fct_cost group by all) f full join"
        " (select market, calendar_month, sum(acquisition_cost + onboarding_cost + funding_cost + servicing_cost + collections_cost)"
        "   as amount from trusted.agg_portfolio_monthly group by all) a using (market, calendar_month)"
        " where abs(coalesce(f.amount, 0) - coalesce(a.amount, 0)) > 0.001"
    )
    assert rows == [(None, None)]


def test_immature_cells_are_blank_and_never_nought(lender: Lab) -> None:
    blank = {
        "kpi_first_payment_default": "first_due_on + horizon_days >= date '2026-07-01' and fpd_rate is not null",
        "kpi_repeat_rate": "closed_on + repeat_horizon_days >= date '2026-07-01' and repeat_rate is not null",
        "kpi_recovery_rate": "write_off_on + write_off_age_days >= date '2026-07-01' and recovery_rate is not null",
        "kpi_vintage_loss": "last_day(cohort_month) + weeks_on_book * 7 >= date '2026-07-01' and vintage_loss is not null",
        "kpi_roll_rate": "calendar_month >= date '2026-07-01'",
        "kpi_unit_economics_monthly": "calendar_month >= date '2026-07-01'",
        "kpi_customer_lifetime_value": "borrower_cohort_month + to_months(months_since_first) >= date '2026-07-01'",
    }
    for table, condition in blank.items():
        assert lender.one(f"select count(*) from kpi.{table} where {condition}") == 0, table
    for table, column in (
        ("first_payment_default", "fpd_rate"),
        ("repeat_rate", "repeat_rate"),
        ("recovery_rate", "recovery_rate"),
    ):
        assert lender.one(f"select count(*) from kpi.kpi_{table} where {column} is null") > 0, table


def test_no_kpi_table_adds_currencies_up(kpis: dict[str, Kpi], lender: Lab) -> None:
    for table in {kpi.table for kpi in kpis.values() if kpi.has_currency}:
        assert lender.one(f"select count(distinct currency) from {table}") == 4, table
    assert all(kpi.has_currency or kpi.table == "kpi.kpi_funnel_daily" for kpi in kpis.values())


def test_metricflow_says_what_the_tables_say(lender: Lab, kpis: dict[str, Kpi]) -> None:
    flow = MetricFlow(lender.home.dbt / "target")
    metrics = {kpi.column: kpi for kpi in kpis.values() if kpi.kind == "metric"}
    assert len(metrics) >= 25
    entities = {
        measure.name: model.primary_entity for model in flow.manifest.semantic_models for measure in model.measures
    }
    for name, kpi in metrics.items():
        entity = entities[kpi.numerator]
        keys = [kpi.period, "market", kpi.product, *(["currency"] if kpi.has_currency else []), *kpi.where]
        sql = flow.sql([name], [f"{entity}__{key}" for key in keys])
        theirs = {tuple(map(str, row[:-1])): row[-1] for row in lender.rows(sql) if row[-1] is not None}
        shown = [f"cast({kpi.period} as timestamp)", *map(str, keys[1:])]
        ours = {
            tuple(map(str, row[:-1])): row[-1]
            for row in lender.rows(f"select {', '.join(shown)}, {name} from {kpi.table} where {name} is not null")
        }
        if kpi.column == "written_off_amount":
            theirs = {key: value for key, value in theirs.items() if key in ours}
        assert ours.keys() == theirs.keys(), name
        assert ours, name
        for key, value in ours.items():
            assert float(value) == pytest.approx(float(theirs[key]), abs=1e-6, rel=1e-6), (name, key)


def test_a_month_s_par_in_metricflow_is_that_of_its_last_day(lender: Lab) -> None:
    flow = MetricFlow(lender.home.dbt / "target")
    sql = flow.sql(["par_30"], ["metric_time__year", "portfolio_day__market", "portfolio_day__currency"])
    theirs = {row[1]: row[3] for row in lender.rows(sql)}
    ours = dict(
        lender.rows("select market, par_30 from kpi.kpi_portfolio_market_daily where as_of_date = date '2026-07-01'")
    )
    assert theirs == pytest.approx({market: float(value) for market, value in ours.items()}, abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "table", "entity", "month", "numerator", "denominator"),
    [
        ("net_yield", "agg_portfolio_monthly", "portfolio_month", "calendar_month", "annualised_net_income", "average_outstanding_principal"),
        ("customer_acquisition_cost", "agg_portfolio_monthly", "portfolio_month", "calendar_month", "new_borrower_cost", "new_borrower_count"),
        ("customer_lifetime_value", "agg_borrower_cohort", "borrower_cohort", "borrower_cohort_month", "cohort_discounted_value", "cohort_borrower_count"),
    ],
)  # fmt: skip
def test_metricflow_counts_of_several_months_only_those_whose_costs_are_known(
    parsed: Home, metric: str, table: str, entity: str, month: str, numerator: str, denominator: str
) -> None:
    flow = MetricFlow(parsed.dbt / "target")
    columns = {name for model in flow.manifest.semantic_models if model.name == entity for name in (
        *(one.name for one in model.measures), *(one.name for one in model.dimensions if one.expr is None)
    )}  # fmt: skip
    others = "".join(
        f", null::bigint as {name}" for name in sorted(columns - {month, "market", numerator, denominator})
    )
    with duckdb.connect() as con:
        con.execute("attach ':memory:' as warehouse; use warehouse; create schema trusted")
        con.execute(
            f"create table trusted.{table} as select {month}, market, {numerator}, {denominator}{others} from (values"
            " (date '2026-01-01', 'NG', 10.0, 100.0), (date '2026-02-01', 'NG', null, 300.0), (date '2026-03-01', 'NG', 5.0, 50.0),"
            " (date '2026-01-01', 'GH', -2.0, 8.0), (date '2026-02-01', 'CI', null, 9.0))"
            f" as t({month}, market, {numerator}, {denominator})"
        )
        theirs = con.execute(flow.sql([metric], [f"{entity}__market"])).fetchall()
    assert {market: value for market, value in theirs if value is not None} == {"NG": 15 / 150, "GH": -2 / 8}


def test_the_rows_behind_every_value_add_up_to_it(lender: Lab, kpis: dict[str, Kpi]) -> None:
    explained = 0
    with lender.connect() as con:
        for kpi in kpis.values():
            conditions = [f"{kpi.column} is not null", *(f"{name} = '{value}'" for name, value in kpi.where.items())]
            periods = con.execute(
                f"select distinct {kpi.period} from {kpi.table} where {' and '.join(conditions)} order by 1 desc limit 3"
            ).fetchall()
            for (period,) in periods:
                for by in ("market", "product"):
                    for found in explain(con, kpi, on=period, by=by, limit=2):  # type: ignore[arg-type]
                        assert found.adds_up, (kpi.name, found)
                        assert len(found.rows) + found.others == found.total
                        explained += found.total
    assert explained > 1000


def test_a_changed_past_is_found_and_only_its_loans_are_made_again(lender: Lab) -> None:
    """Last, since it changes the lender: a repayment of April is reversed, another is gone."""
    (first, loan), (second, other) = lender.rows(
        "select id, loan_id from raw_ledger.m_loan_transaction where transaction_type_enum = 2 and not is_reversed"
        " and transaction_date between date '2026-04-01' and date '2026-04-30' order by id limit 2"
    )
    lender.rows("create or replace table evening.months as from trusted.fct_loan_month")
    before = lender.rows(f"select * from raw_ledger.m_loan_transaction where id = {first}")
    columns = [row[0] for row in lender.rows("describe raw_ledger.m_loan_transaction")]
    reversed_row = {**dict(zip(columns, before[0], strict=True)), "is_reversed": True}
    lender.load("raw_ledger.m_loan_transaction", [{k: v for k, v in reversed_row.items() if not k.startswith("_")}])
    lender.delete("raw_ledger.m_loan_transaction", [second])
    lender.build("--select", "fct_loan_month+", "+fct_loan_month")
    changed = lender.rows(
        "select distinct loan_id from (from trusted.fct_loan_month except from evening.months) order by 1"
    )
    assert {row[0] for row in changed} == {loan, other}
    built = lender.rows("from trusted.fct_loan_month order by loan_id, calendar_month")
    lender.rows("drop table trusted.fct_loan_month")
    lender.build("--select", "fct_loan_month")
    assert lender.rows("from trusted.fct_loan_month order by loan_id, calendar_month") == built


def test_without_costs_what_needs_them_is_blank(make_lab: Callable[[str], Lab], tmp_path: Path) -> None:
    lab = make_lab("no_costs")
    load_world(lab, World.open(tmp_path, customers=80))
    lab.rows("delete from raw_costs.cost")
    lab.set_clock(NEXT_DAY)
    lab.build()
    assert lab.rows(
        "select count(*) > 0, count(customer_acquisition_cost), count(net_yield) from kpi.kpi_unit_economics_monthly"
    ) == [(True, 0, 0)]
    assert lab.rows("select count(*) > 0, count(customer_lifetime_value) from kpi.kpi_customer_lifetime_value") == [
        (True, 0)
    ]
