"""Pairs of records and how much speaks for one person, by splink: the evidence, in bits, before any prior.

The chances of each agreement are a seed, trained on known people and changed by a command only. Incremental: a pair is
compared when one of its records is new or says something else than when it was compared. A record paired with itself
says with which content that was done.
"""

import tempfile

import duckdb
import pyarrow as pa

LEAST_EVIDENCE = 18.0
"""Bits below which no pair is kept: the prior takes sixteen at the least, so that nobody would be asked about it."""
MEMORY_LIMIT = "3GB"
SWAPPED = "first_name_l = last_name_r and last_name_l = first_name_r"
CLOSE = "substring({0}_l, 1, 1) = substring({0}_r, 1, 1) and damerau_levenshtein({0}_l, {0}_r) <= 2"
NEAR_BIRTH = (
    "damerau_levenshtein(date_of_birth_l, date_of_birth_r) <= 1"
    " or date_of_birth_l = substring(date_of_birth_r, 1, 5) || substring(date_of_birth_r, 9, 2) || '-' || substring(date_of_birth_r, 6, 2)"
)
NEAR_ID = "damerau_levenshtein(national_id_l, national_id_r) <= 2"
SAME_LOCAL_PART = "split_part(email_l, '@', 1) = split_part(email_r, '@', 1)"
COMPARISONS = {
    "first_name": {"swapped": SWAPPED, "close": CLOSE.format("first_name")},
    "last_name": {"swapped": SWAPPED, "close": CLOSE.format("last_name")},
    "date_of_birth": {"close": NEAR_BIRTH},
    "phone": {},
    "email": {"close": SAME_LOCAL_PART},
    "national_id": {"close": NEAR_ID},
    "ledger_id": {},
    "market": {},
}
"""What is compared, and what lies between the same and different, the stronger agreement first."""
BLOCKS = (
    ("phone",),
    ("email",),
    ("national_id",),
    ("ledger_id",),
    ("date_of_birth", "substring(first_name, 1, 1)"),
    ("first_name", "last_name", "substring(date_of_birth, 1, 4)"),
)
"""Records that agree in all expressions of any line are compared."""
ADDED = "format('{:+.1f}'"
COLUMNS = ("one", "other", "evidence", "agreement", "one_content", "other_content")


def levels(name):
    """The levels of a comparison with their conditions, the strongest first."""
    return {"same": f"{name}_l = {name}_r", **COMPARISONS[name], "different": "ELSE"}


def settings(chances):
    """splink's settings. `chances`: (comparison, level) to (m, u), the shares among pairs of one person and of two."""
    from splink import SettingsCreator, block_on
    from splink.comparison_library import CustomComparison

    comparisons = []
    for name in COMPARISONS:
        listed = [
            {
                "sql_condition": f"{name}_l is null or {name}_r is null",
                "label_for_charts": "unknown",
                "is_null_level": True,
            }
        ]
        for level, condition in levels(name).items():
            one = {"sql_condition": condition, "label_for_charts": level}
            if chances:
                m, u = chances[name, level]
                one |= {"m_probability": m, "u_probability": u}
            listed.append(one)
        comparisons.append(CustomComparison(comparison_levels=listed, output_column_name=name))
    return SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="record_key",
        comparisons=comparisons,
        blocking_rules_to_generate_predictions=[block_on(*block) for block in BLOCKS],
        probability_two_random_records_match=0.5,
        retain_matching_columns=False,
        retain_intermediate_calculation_columns=True,
    )


def in_memory():
    """A database of its own, which writes no progress bar into what a pass prints."""
    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    return connection


def compare(records, chances):
    """Pairs of an Arrow table of records, as an Arrow table of `COLUMNS`; `agreement` says what each comparison adds."""
    from splink import DuckDBAPI, Linker

    agreement = ", ".join(
        f"case when mw_{name} <> 0 then '{name} ' || " + ADDED + f", mw_{name}) end" for name in COMPARISONS
    )
    with tempfile.TemporaryDirectory() as spill, in_memory() as connection:
        connection.execute(f"set memory_limit = '{MEMORY_LIMIT}'; set temp_directory = '{spill}'")
        api = DuckDBAPI(connection)
        linker = Linker(api.register(records, table_name="records"), settings(chances), log_level=30)
        pairs = linker.inference.predict(threshold_match_weight=LEAST_EVIDENCE)
        return connection.sql(
            f"select least(record_key_l, record_key_r) as one, greatest(record_key_l, record_key_r) as other,"
            f" match_weight as evidence, concat_ws(', ', {agreement}) as agreement,"
            " one_record.content as one_content, other_record.content as other_content"
            f" from {pairs.physical_name}"
            " inner join records as one_record on one_record.record_key = least(record_key_l, record_key_r)"
            " inner join records as other_record on other_record.record_key = greatest(record_key_l, record_key_r)"
        ).to_arrow_table()


def model(dbt, session):
    dbt.config(materialized="incremental", unique_key=["one", "other"], incremental_strategy="delete+insert")
    records = dbt.ref("int_identity_compared")
    chances = {
        (comparison, level): (m, u)
        for comparison, level, m, u in dbt.ref("identity_chances").project("comparison, level, m, u").fetchall()
    }
    changed = records
    if dbt.is_incremental:
        changed = records.query(
            "records",
            "select * from records where not exists ("
            f"select 1 from {dbt.this} as built where built.one = records.record_key and built.other = records.record_key"
            " and built.one_content = records.content)",
        )
    fresh = changed.to_arrow_table()
    itself = pa.table(
        [
            fresh["record_key"],
            fresh["record_key"],
            pa.nulls(len(fresh), pa.float64()),
            pa.nulls(len(fresh), pa.string()),
        ]
        + [fresh["content"]] * 2,
        names=list(COLUMNS),
    )
    if len(fresh) == 0:
        return itself
    near = fresh if not dbt.is_incremental else _around(records, fresh)
    with in_memory() as connection:
        connection.register("pairs", compare(near, chances))
        connection.register("fresh", fresh)
        found = connection.sql(
            f"select {', '.join(COLUMNS)} from pairs where one in (select record_key from fresh)"
            " or other in (select record_key from fresh)"
        ).to_arrow_table()
    return pa.concat_tables([itself, found.cast(itself.schema)])


def _around(records, fresh):
    """The fresh records and all that would be compared with them."""
    shared = " or ".join(
        f"({', '.join(block)}) in (select ({', '.join(block)}) from fresh where "
        + " and ".join(f"{expression} is not null" for expression in block)
        + ")"
        for block in BLOCKS
    )
    with in_memory() as connection:
        connection.register("fresh", fresh)
        connection.register("records", records.to_arrow_table())
        return connection.sql(
            f"select * from records where {shared} or record_key in (select record_key from fresh)"
        ).to_arrow_table()
