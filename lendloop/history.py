"""The tables of the warehouse that no build makes again: models that remember what sources no longer say, and the
quality of earlier builds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb


def remembering_tables(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Schema and name of each model that is never rebuilt (`full_refresh: false`)."""
    return sorted(
        (node["schema"], node["alias"])
        for node in manifest["nodes"].values()
        if node["resource_type"] == "model" and node["config"].get("full_refresh") is False
    )


def keep_history(connection: duckdb.DuckDBPyConnection, manifest: Mapping[str, Any], target: str) -> None:
    """Copy those tables and all of the schema `quality`, with their constraints, into the attached file `target`."""
    measured = connection.execute(
        "select schema_name, table_name from duckdb_tables()"
        " where database_name = current_database() and schema_name = 'quality' order by all"
    ).fetchall()
    for schema, name in [*remembering_tables(manifest), *measured]:
        found = connection.execute(
            "select sql from duckdb_tables() where database_name = current_database() and schema_name = ?"
            " and table_name = ?",
            [schema, name],
        ).fetchall()
        if not found:
            continue
        connection.execute(f"create schema if not exists {target}.{schema}")
        connection.execute(f"create table {target}." + str(found[0][0]).removeprefix("CREATE TABLE "))
        connection.execute(f'insert into {target}.{schema}."{name}" select * from {schema}."{name}"')
