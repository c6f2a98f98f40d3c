-- Loans whose balances, by the ledger's own columns, do not add up: disbursed - repaid - written off = outstanding.
{{ config(severity='warn') }}

select loan_id, currency, principal_disbursed, principal_repaid, principal_written_off, principal_outstanding
from {{ ref('fct_loan') }}
where principal_disbursed - principal_repaid - principal_written_off <> principal_outstanding
