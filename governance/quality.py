"""Quality in six dimensions: what each check of a dataset says of its rows, a score over time, and the rows that fail.

What belongs here: which dimension a check belongs to, the score, and keeping both. What does not: running the tests
(dbt) and what a failure leads to (`lendloop.on_error`).

Scores and failing rows are two tables of the warehouse, in a schema that no build touches; they go with a backup.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import duckdb

from governance.registry import Dataset, Dimension, TestParameters
from governance.watch import Verdict
from lendloop.formats import upgrade
from lendloop.home import Home
from lendloop.on_error import FailedTest, kept_file, rows_that_fail, shown_rows, tested_model
from lendloop.publish import GroupState
from lendloop.zones import NodeResult

KEPT_ROWS = 100
"""How many failing rows are kept for each test and build."""
KEEP_ROWS = timedelta(days=30)
KEEP_SCORES = timedelta(days=400)
TREND = 30
"""How many builds a trend shows."""
VERSIONS = (
    "create schema if not exists quality;"
    " create table quality.score (built_at timestamptz, as_of timestamptz, dataset varchar, dimension varchar,"
    " share double, checks integer, failing bigint);"
    " create table quality.failing_row (built_at timestamptz, as_of timestamptz, dataset varchar, dimension varchar,"
    " test varchar, column_name varchar, key varchar, shown varchar)",
)
OVERALL = "overall"

_BY_KIND = {
    "not_null": Dimension.COMPLETENESS,
    "unique": Dimension.UNIQUENESS,
    "unique_combination": Dimension.UNIQUENESS,
    "accepted_values": Dimension.VALIDITY,
    "relationships": Dimension.CONSISTENCY,
}


def dimension_of(test: Mapping[str, Any]) -> Dimension:
    """What a data test, a node of dbt's manifest, says something of.

    As its meta says, else by its kind; a rule of the business that says nothing is about accuracy.
    """
    declared = TestParameters.model_validate(test["config"].get("meta", {})).dimension
    return declared or _BY_KIND.get((test.get("test_metadata") or {}).get("name", ""), Dimension.ACCURACY)


@dataclass(frozen=True)
class Measured:
    """One check: `failing` of `rows` do not hold it. A check without rows has one, which holds or not."""

    what: str
    dimension: Dimension
    rows: int
    failing: int
    is_share: bool = False
    """Whether it is a share of `completeness` in meta."""

    @property
    def share(self) -> float:
        return 1 - min(self.failing / self.rows, 1) if self.rows else 1.0


@dataclass
class Score:
    """A dataset as of one build. A dimension's share is the mean of its checks', the overall one of its dimensions'."""

    dataset: str
    checks: list[Measured] = field(default_factory=list)

    def of(self, dimension: Dimension) -> float | None:
        """The share of a dimension; None where no check belongs to it."""
        shares = [check.share for check in self.checks if check.dimension is dimension]
        return sum(shares) / len(shares) if shares else None

    @property
    def overall(self) -> float | None:
        shares = [share for dimension in Dimension if (share := self.of(dimension)) is not None]
        return sum(shares) / len(shares) if shares else None


@dataclass(frozen=True)
class Build:
    """What is measured: dbt's manifest, what became of its nodes, and when. `built_at` names the build."""

    manifest: Mapping[str, Any]
    nodes: Iterable[NodeResult]
    groups: Mapping[str, GroupState]
    built_at: datetime
    as_of: datetime
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    """What the watch over each dataset's own past says (`governance.watch`)."""


def measure(
    connection: duckdb.DuckDBPyConnection, home: Home, datasets: Mapping[str, Dataset], build: Build
) -> dict[str, Score]:
    """The score of every trusted and kpi dataset that was built, by key; it is kept with the rows that fail.

    `connection` is open on the warehouse. Rows that were taken out count as failing; a test that could not run, or
    whose result names no rows, fails for all of them.
    """
    upgrade(connection, "quality", VERSIONS, "the quality tables of the warehouse")
    connection.execute("delete from quality.score where built_at = ?", [build.built_at])
    connection.execute("delete from quality.failing_row where built_at = ?", [build.built_at])
    built = set(connection.execute("select schema_name, table_name from duckdb_tables()").fetchall())
    tests: dict[str, list[NodeResult]] = {}
    for node in build.nodes:
        if node.kind == "test":
            tests.setdefault(tested_model(build.manifest, node.unique_id), []).append(node)
    scores = {}
    for key, dataset in datasets.items():
        if dataset.model.zone == "contacts" or (dataset.model.zone, dataset.model.name) not in built:
            continue
        rows, checks = completeness(connection, dataset)
        for node in tests.get(dataset.model.unique_id, []):
            checks.append(_tested(connection, home, build, key, node, rows))
        published = build.groups.get(dataset.consistency_group, GroupState()).published_as_of
        late = published is None or build.as_of - published > dataset.parameters.freshness.warn
        checks.append(Measured("freshness", Dimension.TIMELINESS, 1, int(late)))
        checks += _as_usual(build.verdicts.get(key, Verdict()))
        scores[key] = Score(key, checks)
    _keep_scores(connection, build, scores)
    return scores


def _as_usual(verdict: Verdict) -> list[Measured]:
    """Rows that are fewer or more than they were are of completeness, values that are not what they were of validity."""
    unusual = {finding.kind == "rows" for finding in verdict.findings}
    rows, values = int(True in unusual), int(False in unusual)
    return [
        *([Measured("rows as usual", Dimension.COMPLETENESS, 1, rows)] if verdict.rows_judged else []),
        *([Measured("values as usual", Dimension.VALIDITY, 1, values)] if verdict.values_judged else []),
    ]


def completeness(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> tuple[int, list[Measured]]:
    """How many rows there are, and for each column with a promise how many are missing to keep it."""
    promises = {column: promised for column, promised in dataset.parameters.completeness.items() if promised}
    counts = "".join(f', count("{column}")' for column in promises)
    [(rows, *filled)] = connection.execute(
        f'select count(*){counts} from "{dataset.model.zone}"."{dataset.model.name}"'
    ).fetchall()
    return rows, [
        Measured(
            f"{column} filled in {promised:.0%}",
            Dimension.COMPLETENESS,
            rows,
            max(0, math.ceil(rows * promised) - count),
            is_share=True,
        )
        for (column, promised), count in zip(promises.items(), filled, strict=True)
    ]


def _tested(
    connection: duckdb.DuckDBPyConnection, home: Home, build: Build, dataset: str, result: NodeResult, rows: int
) -> Measured:
    """What a test says of its rows; those that fail are kept."""
    test = build.manifest["nodes"][result.unique_id]
    model = build.manifest["nodes"][tested_model(build.manifest, result.unique_id)]
    dimension = dimension_of(test)
    if result.status == "pass":
        return Measured(test["name"], dimension, rows, 0)
    failing, kept = max(rows, 1), ""
    if result.quarantined is not None:
        failing, rows = result.quarantined, rows + result.quarantined
        path = kept_file(home, model["schema"], model["alias"])
        if path.exists():
            place = str(path).replace("'", "''")
            kept = f"select test, column_name, key, shown from read_parquet('{place}') where test = '{test['name']}'"
    elif result.sql and (
        condition := rows_that_fail(connection, build.manifest, FailedTest(result.unique_id, result.sql))
    ):
        kept = shown_rows(model, test, condition)
        [(failing,)] = connection.execute(f"select count(*) from ({kept})").fetchall()
    if kept:
        connection.execute(
            "insert into quality.failing_row select ?, ?, ?, ?, test, column_name, key, shown"
            f" from ({kept}) order by key limit {KEPT_ROWS}",
            [build.built_at, build.as_of, dataset, dimension.value],
        )
    return Measured(test["name"], dimension, max(rows, 1), failing)


def _keep_scores(connection: duckdb.DuckDBPyConnection, build: Build, scores: Mapping[str, Score]) -> None:
    values: list[list[object]] = []
    for score in scores.values():
        for dimension in Dimension:
            share = score.of(dimension)
            if share is not None:
                mine = [check for check in score.checks if check.dimension is dimension]
                values.append([score.dataset, dimension.value, share, len(mine), sum(check.failing for check in mine)])
        values.append(
            [score.dataset, OVERALL, score.overall, len(score.checks), sum(check.failing for check in score.checks)]
        )
    connection.executemany(
        "insert into quality.score values (?, ?, ?, ?, ?, ?, ?)",
        [[build.built_at, build.as_of, *row] for row in values],
    )
    connection.execute("delete from quality.score where built_at < ?", [build.built_at - KEEP_SCORES])
    connection.execute("delete from quality.failing_row where built_at < ?", [build.built_at - KEEP_ROWS])


@dataclass(frozen=True)
class Standing:
    """A dataset's quality as it was kept: shares by dimension now, the overall ones of the builds before, oldest first."""

    dataset: str
    as_of: datetime
    shares: Mapping[str, float]
    failing: int
    trend: tuple[float, ...]


def read_standings(connection: duckdb.DuckDBPyConnection, dataset: str | None = None) -> list[Standing]:
    """The latest score of every dataset, or of one, with up to `TREND` before it. Empty before the first build."""
    upgrade(connection, "quality", VERSIONS, "the quality tables of the warehouse")
    found: dict[str, dict[datetime, dict[str, tuple[float, int, datetime]]]] = {}
    for name, built_at, as_of, dimension, share, failing in connection.execute(
        "select dataset, built_at, as_of, dimension, share, failing from quality.score"
        " where dataset = coalesce(?, dataset) order by dataset, built_at",
        [dataset],
    ).fetchall():
        found.setdefault(name, {}).setdefault(built_at, {})[dimension] = (share, failing, as_of)
    standings = []
    for name, builds in found.items():
        latest = builds[max(builds)]
        _, failing, as_of = latest[OVERALL]
        shares = {dimension: share for dimension, (share, _, _) in latest.items()}
        trend = tuple(one[OVERALL][0] for _, one in sorted(builds.items())[-TREND:])
        standings.append(Standing(name, as_of, shares, failing, trend))
    return standings


def read_failing_rows(connection: duckdb.DuckDBPyConnection, dataset: str) -> list[tuple[str, str, str, str]]:
    """The failing rows that the latest build of a dataset kept: dimension, test, column and key."""
    return connection.execute(
        "select dimension, test, column_name, key from quality.failing_row where dataset = $1 and built_at ="
        " (select max(built_at) from quality.score where dataset = $1) order by all",
        [dataset],
    ).fetchall()
