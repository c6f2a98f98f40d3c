"""A made-up dbt project of one agreed dataset, in the shape of dbt's manifest; a test breaks one thing of it.

What belongs here: the project. What does not: assertions.
"""

from __future__ import annotations

from typing import Any

from governance.manifest import Manifest, parse_manifest

TERMS = "models/dictionary/loan.md"
FIELDS = {
    "loan_id": {"kind": "id", "grain": "one value a loan", "owner": "risk", "source of truth": "ledger", "since": "2026-01-01"},
    "person_key": {"kind": "id", "grain": "one value a person", "owner": "risk", "source of truth": "gray", "since": "2026-01-01"},
    "principal_owed": {
        "kind": "amount", "formula": "disbursed - repaid", "grain": "one value a loan", "exclusions": "interest",
        "unit": "money", "owner": "risk", "source of truth": "ledger", "synonyms": "loan balance, debt",
        "not to be confused with": "loan_to_value (a ratio); loan_id (no money)", "since": "2026-01-01",
    },
    "loan_to_value": {
        "kind": "ratio", "formula": "owed / collateral", "grain": "one value a loan", "exclusions": "unsecured loans",
        "unit": "share", "owner": "risk", "source of truth": "none", "synonyms": "collateral coverage",
        "since": "2026-01-01", "status": "named only",
    },
    "ltv": {"kind": "refused", "matches": "word", "instead": "loan_to_value", "owner": "risk", "since": "2026-01-01"},
    "status": {"kind": "refused", "matches": "name", "instead": "loan_id", "owner": "risk", "since": "2026-01-01"},
}  # fmt: skip
META = {
    "owner": "risk", "steward": "data-platform", "refresh_minutes": 15,
    "freshness": {"warn_hours": 20, "fail_hours": 26}, "completeness": {"principal_owed": 0.9},
    "consistency": ["person_key in dim_customer"], "retention": "as_source", "on_error": "serve_stale", "key": ["loan_id"],
}  # fmt: skip


class SmallProject:
    """`manifest` reads it as it stands; everything in it is plain data to be changed before."""

    def __init__(self) -> None:
        self.fields: dict[str, dict[str, str]] = {name: dict(fields) for name, fields in FIELDS.items()}
        self.meanings = {name: f"What {name} means, in a sentence." for name in FIELDS}
        self.nodes: dict[str, dict[str, Any]] = {}
        self.loan = self.model(
            "trusted", "fct_loan", META, {"loan_id": "none", "person_key": "pseudonym", "principal_owed": "none"}
        )
        self.loan["columns"]["principal_owed"]["constraints"] = []
        self.customer = self.model("gray", "dim_customer", {}, {})
        self.source: dict[str, Any] = {
            "unique_id": "source.loan", "schema": "raw_ledger", "identifier": "m_loan", "config": {"meta": {"owner": "risk"}},
            "original_file_path": "models/sources.yml", "description": "",
        }  # fmt: skip
        self.nodes["test.relationship"] = {
            "resource_type": "test", "name": "relationships_fct_loan_person_key", "column_name": "person_key",
            "test_metadata": {"name": "relationships", "kwargs": {"to": "ref('dim_customer')", "field": "person_key"}},
            "attached_node": "model.fct_loan", "depends_on": {"nodes": ["model.dim_customer", "model.fct_loan"]},
        }  # fmt: skip

    def model(self, zone: str, name: str, meta: dict[str, Any], columns: dict[str, str]) -> dict[str, Any]:
        """Add a model; `columns` are classes of personal data by name, each pointing to the term of its name."""
        node = {
            "resource_type": "model", "unique_id": f"model.{name}", "schema": zone, "alias": name,
            "original_file_path": f"models/{name}.sql", "patch_path": f"lendloop://models/{name}.yml", "group": "portfolio",
            "description": "One row a loan.", "config": {"meta": {**meta}, "materialized": "table"},
            "constraints": [{"type": "primary_key", "columns": meta.get("key", [])}], "depends_on": {"nodes": []},
            "columns": {
                column: {
                    "name": column, "data_type": "varchar", "description": "", "doc_blocks": [f"doc.lendloop.{column}"],
                    "config": {"meta": {"term": column, "pii": pii}}, "constraints": [{"type": "not_null"}],
                }
                for column, pii in columns.items()
            },
        }  # fmt: skip
        self.nodes[node["unique_id"]] = node
        return node

    def column(self, name: str, pii: str = "none", *, term: str | None = None) -> None:
        """Add a column to fct_loan that points to `term`, by default the one of its name."""
        self.loan["columns"][name] = {
            "name": name, "description": "", "doc_blocks": [f"doc.lendloop.{term or name}"],
            "config": {"meta": {"term": term or name, "pii": pii}}, "constraints": [{"type": "not_null"}],
        }  # fmt: skip

    @property
    def manifest(self) -> Manifest:
        docs = {
            name: {
                "name": name, "package_name": "lendloop", "original_file_path": TERMS,
                "block_contents": self.meanings[name] + "\n\n" + "\n".join(f"- {key}: {text}" for key, text in fields.items()),
            }
            for name, fields in self.fields.items()
        }  # fmt: skip
        owner = {"name": "risk", "email": "risk@example.org"}
        platform = {"name": "data-platform", "email": "data-platform@example.org"}
        return parse_manifest(
            {
                "nodes": self.nodes,
                "sources": {"source.loan": self.source},
                "docs": docs,
                "exposures": {"e": {"owner": platform}},
                "groups": {"g": {"name": "portfolio", "owner": owner}},
            }
        )
