"""The raw zone's tables: names, columns, types, keys and cursors, one declaration for all.

What belongs here: the shape that staging models may rely on, whatever the source sends.
What does not: how a source is read, and what a column means to the business.

Every declared table exists in raw with every declared column, also when its source is not
configured or lacks the table or column (then empty, or NULL). Columns that a source adds later
are taken into raw as they come and reported.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

ColumnType = Literal["text", "bigint", "money", "date", "timestamp", "bool", "json"]
Source = Literal["crm", "ledger", "support", "costs", "survey"]

MONEY_PRECISION, MONEY_SCALE = 19, 6
"""Fineract stores money as DECIMAL(19,6); raw and trusted keep it so."""

TECHNICAL_COLUMNS: dict[str, ColumnType] = {
    "_row_hash": "text",
    "_loaded_at": "timestamp",
    "_deleted_at": "timestamp",
}
"""Set by ingestion on every raw row.

`_row_hash`: md5 of the row's canonical content, to write only what changed.
`_loaded_at`: UTC wall-clock of the load that last wrote the row; grows with every load, so an
incremental model reads `_loaded_at > max(_loaded_at)`.
`_deleted_at`: when ingestion learnt that the source no longer has the row (or archived it); NULL while live.
"""


@dataclass(frozen=True)
class RawTable:
    """One raw table.

    `key` columns identify a row; a row without them stays out of raw. `cursor` is the column
    that grows when a row changes; a table without one is mirrored whole. `optional` tables may
    be absent from the source. `fails_closed`: the bool columns that become TRUE when the value of
    a column can't be read; `consents`: those that become FALSE when their own can't. `text_lists`: the
    json columns that must hold a list of texts.
    """

    source: Source
    name: str
    key: tuple[str, ...]
    columns: dict[str, ColumnType] = field(hash=False)
    cursor: str | None = None
    optional: bool = False
    fails_closed: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    consents: tuple[str, ...] = ()
    text_lists: tuple[str, ...] = ()

    @property
    def schema(self) -> str:
        return f"raw_{self.source}"

    @property
    def keeps_rows(self) -> bool:
        """Whether a row with a bad value is loaded without that value: people's records are, so that an exclusion beside
        it counts; money is whole or not at all."""
        return self.source not in ("ledger", "costs")


_UTC_STAMPS: dict[str, ColumnType] = {"created_on_utc": "timestamp", "last_modified_on_utc": "timestamp"}
_CURSOR = "last_modified_on_utc"

LEDGER: tuple[RawTable, ...] = (
    RawTable(
        "ledger",
        "m_client",
        ("id",),
        {
            "id": "bigint",
            "account_no": "text",
            "external_id": "text",
            "status_enum": "bigint",
            "activation_date": "date",
            "firstname": "text",
            "lastname": "text",
            "display_name": "text",
            "mobile_no": "text",
            "email_address": "text",
            "date_of_birth": "date",
            "gender": "text",
            "office_id": "bigint",
            "submittedon_date": "date",
            **_UTC_STAMPS,
        },
        cursor=_CURSOR,
    ),
    RawTable(
        "ledger",
        "m_loan",
        ("id",),
        {
            "id": "bigint",
            "account_no": "text",
            "external_id": "text",
            "client_id": "bigint",
            "product_id": "bigint",
            "loan_status_id": "bigint",
            "currency_code": "text",
            "principal_amount": "money",
            "approved_principal": "money",
            "principal_disbursed_derived": "money",
            "principal_repaid_derived": "money",
            "principal_outstanding_derived": "money",
            "principal_writtenoff_derived": "money",
            "interest_charged_derived": "money",
            "total_outstanding_derived": "money",
            "total_recovered_derived": "money",
            "number_of_repayments": "bigint",
            "submittedon_date": "date",
            "approvedon_date": "date",
            "disbursedon_date": "date",
            "closedon_date": "date",
            "writtenoffon_date": "date",
            "charged_off_on_date": "date",
            "loan_counter": "bigint",
            "is_npa": "bool",
            **_UTC_STAMPS,
        },
        cursor=_CURSOR,
    ),
    RawTable(
        "ledger",
        "m_loan_transaction",
        ("id",),
        {
            "id": "bigint",
            "loan_id": "bigint",
            "is_reversed": "bool",
            "reversed_on_date": "date",
            "transaction_type_enum": "bigint",
            "transaction_date": "date",
            "amount": "money",
            "principal_portion_derived": "money",
            "interest_portion_derived": "money",
            "fee_charges_portion_derived": "money",
            "penalty_charges_portion_derived": "money",
            "outstanding_loan_balance_derived": "money",
            **_UTC_STAMPS,
        },
        cursor=_CURSOR,
    ),
    RawTable(
        "ledger",
        "m_loan_repayment_schedule",
        ("id",),
        {
            "id": "bigint",
            "loan_id": "bigint",
            "installment": "bigint",
            "fromdate": "date",
            "duedate": "date",
            "principal_amount": "money",
            "principal_completed_derived": "money",
            "principal_writtenoff_derived": "money",
            "interest_amount": "money",
            "interest_completed_derived": "money",
            "fee_charges_amount": "money",
            "penalty_charges_amount": "money",
            "completed_derived": "bool",
            "obligations_met_on_date": "date",
            "last_modified_on_utc": "timestamp",
        },
        cursor=_CURSOR,
    ),
    RawTable(
        "ledger",
        "m_savings_account",
        ("id",),
        {
            "id": "bigint",
            "account_no": "text",
            "client_id": "bigint",
            "currency_code": "text",
            "activated_on": "date",
            **_UTC_STAMPS,
        },
        cursor=_CURSOR,
        optional=True,
    ),
    RawTable(
        "ledger",
        "m_savings_account_transaction",
        ("id",),
        {
            "id": "bigint",
            "savings_account_id": "bigint",
            "transaction_type_enum": "bigint",
            "is_reversed": "bool",
            "transaction_date": "date",
            "amount": "money",
            "running_balance_derived": "money",
            **_UTC_STAMPS,
        },
        cursor=_CURSOR,
        optional=True,
    ),
    RawTable(
        "ledger",
        "m_loan_arrears_aging",
        ("loan_id",),
        {
            "loan_id": "bigint",
            "principal_overdue_derived": "money",
            "interest_overdue_derived": "money",
            "fee_charges_overdue_derived": "money",
            "penalty_charges_overdue_derived": "money",
            "total_overdue_derived": "money",
            "overdue_since_date_derived": "date",
        },
        optional=True,
    ),
    RawTable(
        "ledger",
        "m_product_loan",
        ("id",),
        {
            "id": "bigint",
            "name": "text",
            "short_name": "text",
            "currency_code": "text",
            "number_of_repayments": "bigint",
            "repay_every": "bigint",
            "repayment_period_frequency_enum": "bigint",
        },
        optional=True,
    ),
    RawTable(
        "ledger",
        "m_office",
        ("id",),
        {"id": "bigint", "name": "text", "external_id": "text"},
        optional=True,
    ),
)

CRM: tuple[RawTable, ...] = (
    RawTable(
        "crm",
        "contacts",
        ("id",),
        {
            "id": "text",
            "first_name": "text",
            "last_name": "text",
            "phone": "text",
            "email": "text",
            "market": "text",
            "date_of_birth": "date",
            "national_id": "text",
            "ledger_client_id": "text",
            "sms_consent": "bool",
            "sms_consent_at": "timestamp",
            "email_consent": "bool",
            "email_consent_at": "timestamp",
            "do_not_contact": "bool",
            "is_fraud": "bool",
            "is_deceased": "bool",
            "has_dispute": "bool",
            "language": "text",
            "lifecycle_stage": "text",
            "eligible_at": "timestamp",
            "offered_at": "timestamp",
            "created_at": "timestamp",
            "updated_at": "timestamp",
            "is_archived": "bool",
        },
        cursor="updated_at",
        fails_closed={name: (name,) for name in ("do_not_contact", "is_fraud", "is_deceased", "has_dispute")},
        consents=("sms_consent", "email_consent"),
    ),
    RawTable(
        "crm",
        "deals",
        ("id",),
        {
            "id": "text",
            "contact_id": "text",
            "ledger_loan_id": "text",
            "product": "text",
            "market": "text",
            "currency": "text",
            "stage": "text",
            "requested_amount": "money",
            "approved_amount": "money",
            "applied_at": "timestamp",
            "kyc_completed_at": "timestamp",
            "approved_at": "timestamp",
            "declined_at": "timestamp",
            "accepted_at": "timestamp",
            "disbursed_at": "timestamp",
            "created_at": "timestamp",
            "updated_at": "timestamp",
            "is_archived": "bool",
        },
        cursor="updated_at",
    ),
)

SUPPORT: tuple[RawTable, ...] = (
    RawTable(
        "support",
        "tickets",
        ("id",),
        {
            "id": "bigint",
            "external_id": "text",
            "requester_id": "bigint",
            "submitter_id": "bigint",
            "assignee_id": "bigint",
            "group_id": "bigint",
            "organization_id": "bigint",
            "status": "text",
            "priority": "text",
            "type": "text",
            "subject": "text",
            "description": "text",
            "via_channel": "text",
            "tags": "json",
            "custom_fields": "json",
            "satisfaction_score": "text",
            "created_at": "timestamp",
            "updated_at": "timestamp",
            "generated_timestamp": "bigint",
            "is_dispute": "bool",
            "is_complaint": "bool",
            "is_hardship": "bool",
        },
        cursor="generated_timestamp",
        fails_closed={
            "tags": ("is_dispute", "is_complaint", "is_hardship"),
            "is_dispute": ("is_dispute",),
            "is_complaint": ("is_complaint",),
            "is_hardship": ("is_hardship",),
        },
        text_lists=("tags",),
    ),
    RawTable(
        "support",
        "users",
        ("id",),
        {
            "id": "bigint",
            "external_id": "text",
            "name": "text",
            "email": "text",
            "phone": "text",
            "role": "text",
            "active": "bool",
            "suspended": "bool",
            "tags": "json",
            "user_fields": "json",
            "created_at": "timestamp",
            "updated_at": "timestamp",
        },
        cursor="updated_at",
    ),
    RawTable(
        "support",
        "ticket_events",
        ("id",),
        {
            "id": "bigint",
            "ticket_id": "bigint",
            "event_type": "text",
            "updater_id": "bigint",
            "via": "text",
            "status": "text",
            "created_at": "timestamp",
            "child_events": "json",
        },
        cursor="created_at",
    ),
)

COSTS: tuple[RawTable, ...] = (
    RawTable(
        "costs",
        "cost",
        ("id",),
        {
            "id": "text",
            "month": "date",
            "market": "text",
            "currency": "text",
            "product": "text",
            "kind": "text",
            "amount": "money",
        },
    ),
)

SURVEY: tuple[RawTable, ...] = (
    RawTable(
        "survey",
        "response",
        ("id",),
        {
            "id": "text",
            "file": "text",
            "sheet": "text",
            "record": "text",
            "market": "text",
            "first_name": "text",
            "last_name": "text",
            "full_name": "text",
            "phone": "text",
            "email": "text",
            "date_of_birth": "date",
            "customer_id": "text",
            "answered_at": "timestamp",
            "channel": "text",
            "campaign": "text",
            "score": "bigint",
            "wants_contact": "bool",
            "do_not_contact": "bool",
        },
        fails_closed={"do_not_contact": ("do_not_contact",), "wants_contact": ("do_not_contact",)},
    ),
)

TABLES: dict[Source, tuple[RawTable, ...]] = {
    "crm": CRM,
    "ledger": LEDGER,
    "support": SUPPORT,
    "costs": COSTS,
    "survey": SURVEY,
}
