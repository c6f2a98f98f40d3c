"""The bank's tables in the ledger's shape, in PostgreSQL: its own DDL, and rows from its files or made up."""

from __future__ import annotations

import gzip
from pathlib import Path

import psycopg
import sqlalchemy as sa

BANK_FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "bank"

DDL = {
    "m_client": (
        "id bigint PRIMARY KEY, account_no varchar(20), status_enum int, gender varchar(1), date_of_birth date, "
        "office_id bigint, activation_date date, account_role varchar(20), savings_account_id bigint, "
        "created_on_utc timestamp, last_modified_on_utc timestamp"
    ),
    "m_loan": (
        "id bigint PRIMARY KEY, account_no varchar(20), client_id bigint, savings_account_id bigint, product_id bigint, "
        "loan_status_id smallint, currency_code char(3), principal_amount numeric(19,6), "
        "principal_disbursed_derived numeric(19,6), principal_repaid_derived numeric(19,6), "
        "principal_outstanding_derived numeric(19,6), number_of_repayments int, installment_amount numeric(19,6), "
        "submittedon_date date, disbursedon_date date, closedon_date date, writtenoffon_date date, is_npa boolean, "
        "created_on_utc timestamp, last_modified_on_utc timestamp"
    ),
    "m_loan_arrears_aging": (
        "loan_id bigint PRIMARY KEY, total_overdue_derived numeric(19,6), overdue_since_date_derived date"
    ),
    "m_loan_transaction": (
        "id bigint PRIMARY KEY, loan_id bigint, is_reversed boolean, transaction_type_enum smallint, "
        "transaction_date date, amount numeric(19,6), bank_transaction_id bigint, created_on_utc timestamp, "
        "last_modified_on_utc timestamp"
    ),
    "m_loan_repayment_schedule": (
        "id bigint PRIMARY KEY, loan_id bigint, installment smallint, fromdate date, duedate date, "
        "principal_amount numeric(19,6), completed_derived boolean, last_modified_on_utc timestamp"
    ),
    "m_savings_account": (
        "id bigint PRIMARY KEY, client_id bigint, currency_code varchar(3), activated_on date, "
        "created_on_utc timestamp, last_modified_on_utc timestamp"
    ),
    "m_savings_account_transaction": (
        "id bigint PRIMARY KEY, savings_account_id bigint, transaction_type_enum smallint, is_reversed boolean, "
        "transaction_date date, amount numeric(19,6), running_balance_derived numeric(19,6), purpose varchar(40), "
        "created_on_utc timestamp, last_modified_on_utc timestamp"
    ),
}


def create_bank(url: str) -> None:
    """The bank's empty tables."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for name, columns in DDL.items():
            connection.exec_driver_sql(f"CREATE TABLE {name} ({columns})")
    engine.dispose()


def fill_from_files(url: str, folder: Path) -> None:
    """Copy the bank's files in."""
    with psycopg.connect(url) as connection:
        for name in DDL:
            packed = folder / f"{name}.csv.gz"
            text = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / f"{name}.csv").read_bytes()
            header = text.split(b"\n", 1)[0].decode().strip()
            copy = f"COPY {name} ({header}) FROM STDIN WITH (FORMAT csv, HEADER)"
            with connection.cursor().copy(copy) as target:  # type: ignore[arg-type]
                target.write(text)


def fill_made_up(url: str, clients: int) -> None:
    """One loan, one account and two transactions a client, made by the database itself."""
    stamp = "timestamp '1998-01-01' + mod(n, 365) * interval '1 day'"
    statements = (
        f"INSERT INTO m_client SELECT n, lpad(n::text, 9, '0'), 300, 'F', date '1970-01-01' + mod(n::int, 9000), 1, "
        f"date '1995-03-24', 'OWNER', n, {stamp}, {stamp} FROM generate_series(1, {clients}) AS n",
        f"INSERT INTO m_loan SELECT n, lpad(n::text, 9, '0'), n, n, 1, 300, 'CZK', n * 1.000001, n * 1.000001, 0, n * 1.000001, "
        f"24, 3373.0, date '1997-12-29', date '1998-01-05', NULL, NULL, false, {stamp}, {stamp} "
        f"FROM generate_series(1, {clients}) AS n",
        f"INSERT INTO m_savings_account SELECT n, n, 'CZK', date '1995-03-24', {stamp}, {stamp} "
        f"FROM generate_series(1, {clients}) AS n",
        f"INSERT INTO m_savings_account_transaction SELECT n, mod(n, {clients}) + 1, 1 + mod(n, 2), false, date '1998-01-01', "
        f"n * 0.000001 + 9999999999999 - n, n, 'SALARY', {stamp}, {stamp} FROM generate_series(1, {2 * clients}) AS n",
        "INSERT INTO m_loan_arrears_aging VALUES (1, 10616.000001, date '1998-11-14'), (2, 14740, date '1998-11-06')",
    )
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()
