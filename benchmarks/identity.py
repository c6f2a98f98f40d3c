"""Who is who among a million records: the models of identity as a first build makes them, beside splink run bare.

`python -m benchmarks.identity --train` writes the chances that the models use, from a pretend lender whose truth is known.
"""

from __future__ import annotations

import argparse
import csv
import runpy
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from benchmarks.build import HASH_KEY, load_raw
from benchmarks.harness import ROUNDS, Peer, Row, Size, Timing, timed_call
from lendloop.home import DBT_PROJECT, Home
from lendloop.identity import write_raw_decisions
from lendloop.project import invoke_dbt
from lendloop.warehouse import connect_warehouse
from orchestration.sandbox_process import sandbox_server
from sandbox.world import World

TITLE = "One person: a million records"
CUSTOMERS: dict[Size, int] = {"small": 1_000, "full": 430_000}
MODEL = DBT_PROJECT / "models" / "gray" / "identity" / "int_identity_match.py"
CHANCES = DBT_PROJECT / "seeds" / "identity_chances.csv"
TRAINED_ON = 20_000
SAMPLED_PAIRS = 20_000_000
"""Pairs of two people that are looked at; what is seen in none of them gets the chance of one."""
RAREST_M = 1e-5
"""The chance of a disagreement that no known person's records have: not seen is not impossible."""


def measure(size: Size) -> Iterator[Row]:
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    rounds = 1 if size == "small" else ROUNDS
    ours: list[Timing] = []
    bare: list[Timing] = []
    try:
        _lender(folder, CUSTOMERS[size])
        for number in range(rounds):
            home = folder / f"home-{number}"
            shutil.copytree(folder / "raw", home)
            ours.append(timed_call(build_identity, home))
            bare.append(timed_call(splink_bare, home))
        records, pairs = _size(home)
        quality = _quality(home, World.open(folder / "sandbox", customers=CUSTOMERS[size]).truth()["person_sources"])
    finally:
        shutil.rmtree(folder)
    yield Row(
        "raw to people, nothing built before",
        ours,
        [Peer("splink bare on the same records, normalised", bare)],
        amount=records,
        note=f"{pairs:,} pairs kept. {quality} Nearly half of the time goes into phones and e-mails, read by a library number by"
        " number; a fifth into comparing; the rest is SQL",
    )


def _lender(folder: Path, customers: int) -> None:
    """Raw of a pretend lender in `folder`/raw."""
    with sandbox_server(folder / "sandbox", customers) as sandbox:
        variables = {name: value for name, value in sandbox.items() if name.startswith("LENDLOOP_")}
        timed_call(load_raw, variables, folder / "raw")
        as_of = World.open(folder / "sandbox", customers=customers).as_of
    with connect_warehouse(Home(folder / "raw")) as connection:
        _write_clock(connection, as_of)
        write_raw_decisions(connection, Home(folder / "raw"))


def _write_clock(connection: duckdb.DuckDBPyConnection, as_of: datetime) -> None:
    connection.execute("create schema if not exists raw_meta")
    connection.execute("create or replace table raw_meta.clock (as_of timestamptz, business_date date)")
    connection.execute("insert into raw_meta.clock values (?, ?)", [as_of.astimezone(UTC), None])


def build_identity(home: Path, selected: str = "+map_customer_source +int_identity_review") -> float:
    """Make the models up to `selected`; seconds. The project is parsed before."""
    invoke_dbt(Home(home).prepare(), ["parse"], target="local", hash_key=HASH_KEY)
    began = time.perf_counter()
    results = invoke_dbt(
        Home(home),
        ["build", "--select", selected, "--exclude-resource-type", "unit_test", "--exclude-resource-type", "test"],
        target="local",
        hash_key=HASH_KEY,
    )
    seconds = time.perf_counter() - began
    bad = [result for result in results.results if str(result.status.value) != "success"]
    if bad:
        raise RuntimeError("; ".join(f"{result.node.name}: {result.message or result.status}" for result in bad))
    return seconds


def splink_bare(home: Path) -> float:
    """The same comparison by splink alone, on records that are normalised; seconds."""
    model = runpy.run_path(str(MODEL))
    with connect_warehouse(Home(home)) as connection:
        began = time.perf_counter()
        records = connection.sql("select * from gray.int_identity_compared").to_arrow_table()
        model["compare"](records, chances())
        return time.perf_counter() - began


def chances() -> dict[tuple[str, str], tuple[float, float]]:
    """The chances as they are kept: (comparison, level) to (m, u)."""
    with open(CHANCES, newline="") as file:
        return {
            (row["comparison"], row["level"]): (float(row["m"]), float(row["u"] or 0)) for row in csv.DictReader(file)
        }


def _size(home: Path) -> tuple[int, int]:
    with connect_warehouse(Home(home)) as connection:
        [(records,)] = connection.execute("select count(*) from gray.int_identity_record").fetchall()
        [(pairs,)] = connection.execute("select count(*) from gray.int_identity_pair").fetchall()
    return int(records), int(pairs)


def _quality(home: Path, truth: pa.Table) -> str:
    with connect_warehouse(Home(home)) as connection:
        precision, recall, asked = quality(connection, truth)
    return f"Of pairs that were joined {precision:.5f} are one person, of pairs of one person {recall:.4f} were joined; {asked:,} wait for review."


def quality(connection: duckdb.DuckDBPyConnection, truth: pa.Table) -> tuple[float, float, int]:
    """Precision and recall of pairs of live records that count as one person, and how many pairs wait for review."""
    connection.register("truth", truth)
    connection.execute(
        "create or replace temp table known as select t.person_id, m.person_key, m.source || ':' || m.source_id as record"
        " from truth as t inner join trusted.map_customer_source as m"
        " on m.source = t.source and m.source_id = t.source_id and m.valid_to is null where t.is_live"
    )
    [(joined, right)] = connection.execute(
        "select count(*), count(*) filter (a.person_id = b.person_id) from known a inner join known b"
        " on a.person_key = b.person_key and a.record < b.record"
    ).fetchall()
    [(pairs,)] = connection.execute(
        "select count(*) from known a inner join known b on a.person_id = b.person_id and a.record < b.record"
    ).fetchall()
    [(asked,)] = connection.execute("select count(*) from gray.int_identity_review").fetchall()
    return right / joined, right / pairs, int(asked)


def train() -> None:
    """Write the chances: the shares of levels among pairs of one person and of two, of a lender whose truth is known."""
    folder = Path(tempfile.mkdtemp(prefix="train-"))
    try:
        _lender(folder, TRAINED_ON)
        build_identity(folder / "raw", "+int_identity_compared")
        truth = World.open(folder / "sandbox", customers=TRAINED_ON).truth()["person_sources"]
        with connect_warehouse(Home(folder / "raw")) as connection:
            connection.register("truth", truth)
            records = connection.sql(
                "select c.*, t.person_id from gray.int_identity_compared c"
                " inner join truth t on c.record_key = t.source || ':' || t.source_id order by record_key"
            ).to_arrow_table()
    finally:
        shutil.rmtree(folder)
    rows = [("comparison", "level", "m", "u"), *learnt(records)]
    with open(CHANCES, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def learnt(records: pa.Table) -> Iterator[tuple[str, str, str, str]]:
    """Rows of the chances from records that say in `person_id` who they are."""
    with duckdb.connect() as connection:
        connection.register("records", records)
        [(own, count)] = connection.execute(
            "select sum(n * (n - 1) / 2), sum(n) from (select count(*) as n from records group by person_id)"
        ).fetchall()
        # pairs of two people only: one record of each, whichever
        strangers = connection.sql(
            "from records qualify row_number() over (partition by person_id order by md5(record_key)) = 1 order by record_key"
        ).to_arrow_table()
    yield "record", "of one person", f"{2 * own / count:.6g}", ""
    of_one = _trained(records, lambda linker: linker.training.estimate_m_from_label_column("person_id"), "m")
    of_two = _trained(
        strangers,
        lambda linker: linker.training.estimate_u_using_random_sampling(max_pairs=SAMPLED_PAIRS, seed=1),
        "u",
    )
    for (comparison, level), m in of_one.items():
        u = of_two[comparison, level]
        yield comparison, level, f"{max(m, RAREST_M):.6g}", f"{max(u, 1 / SAMPLED_PAIRS):.6g}"


def _trained(records: pa.Table, training: Callable[[Any], None], letter: str) -> dict[tuple[str, str], float]:
    """What splink learns in `training`, by comparison and level; 0 for what it never saw."""
    from splink import DuckDBAPI, Linker

    settings = runpy.run_path(str(MODEL))["settings"]({})
    with duckdb.connect() as connection:
        linker = Linker(DuckDBAPI(connection).register(records, table_name="people"), settings, log_level=40)
        training(linker)
        model: Mapping[str, Any] = linker.misc.save_model_to_json()
    return {
        (comparison["output_column_name"], level["label_for_charts"]): level.get(f"{letter}_probability") or 0.0
        for comparison in model["comparisons"]
        for level in comparison["comparison_levels"]
        if not level.get("is_null_level")
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.identity", description=__doc__)
    parser.add_argument("--train", action="store_true", required=True)
    parser.parse_args()
    train()
