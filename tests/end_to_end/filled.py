"""A scaffolded model with its blanks filled in, as a person would."""

from __future__ import annotations

from tests.checkout_copy import Copy

GRAY = "dbt_project/models/gray"
MODEL_SQL = {
    "what a row is": "The loans of a market, counted.",
    "the columns": "market",
    "a model": "fct_loan",
    "the columns, each": "market,\n    count(*) as loan_count",
}


def fill_sql(copy: Copy, name: str) -> None:
    """The SQL of a draft in the group portfolio: loans by market."""
    copy.fill(f"{GRAY}/portfolio/{name}.sql", MODEL_SQL)
    sql = copy.path(f"{GRAY}/portfolio/{name}.sql")
    sql.write_text(sql.read_text() + "group by market\n")


def fill_agreed(copy: Copy) -> None:
    """The draft int_agreed, which declares all that trusted asks for."""
    fill_sql(copy, "int_agreed")
    copy.fill(
        f"{GRAY}/portfolio/_int_agreed.yml",
        {
            "what a row is": "One row a market.",
            "Team that decides": "risk",
            "Team that keeps": "data-platform",
            "How often": "15",
            "Hours after which its owner": "20",
            "Hours after which it is": "26",
            "The smallest share": "{}",
            "Data tests": "market in dim_market",
            "`as_source`": "as_source",
            "What happens": "serve_stale",
            "Columns that name": "market",
            "the columns of the key": "market",
            "the column": "market",
            "its type": "varchar",
            "the term": "market",
            "The name of a doc block": "market",
            "Class of personal data": "none",
            "the tests": "unique, relationships: {arguments: {to: ref('dim_market'), field: market}}",
        },
    )
    agreed = copy.path(f"{GRAY}/portfolio/_int_agreed.yml")
    more = agreed.read_text().replace(
        "[unique, relationships: {arguments: {to: ref('dim_market'), field: market}}]",
        "[unique, {relationships: {arguments: {to: ref('dim_market'), field: market}}}]\n"
        "      - name: loan_count\n        data_type: bigint\n        description: '{{ doc(\"loan_count\") }}'\n"
        "        config: {meta: {term: loan_count, pii: none}}\n        constraints: [{type: not_null}]",
    )
    agreed.write_text(more)
