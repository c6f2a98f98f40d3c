"""`lendloop doctor`: every room's checks at once, and Dagster's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg

from activation.doctor import check_blueshift, check_deliveries, check_mail, check_ops, check_slack
from ingestion.doctor import check_costs, check_crm, check_dlt_state, check_ledger, check_support, check_survey
from lendloop.doctor import Check, Finding, run_checks
from lendloop.doctor import files as on_disk
from lendloop.doctor.environment import check_settings, check_versions
from lendloop.settings import Settings
from orchestration.instance import PID_TAG, is_alive, open_instance

LONG_RUN = timedelta(hours=6)


def examine() -> list[Finding]:
    """Look at everything, for at most about twenty seconds. Changes nothing and sends nothing."""
    settings, findings = check_settings()
    findings = [*check_versions(), *findings]
    return findings if settings is None else [*findings, *run_checks(_checks(settings))]


def _checks(settings: Settings) -> dict[str, Check]:
    of_settings = {
        "home": on_disk.check_home,
        "rights": on_disk.check_rights,
        "disk": on_disk.check_disk,
        "clock": on_disk.check_clock,
        "locks": on_disk.check_locks,
        "state": on_disk.check_state,
        "warehouse": on_disk.check_warehouse,
        "published": on_disk.check_published,
        "sources": on_disk.check_sources,
        "load state": check_dlt_state,
        "deliveries": check_deliveries,
        "operational state": check_ops,
        "passes": on_disk.check_passes,
        "ledger": check_ledger,
        "crm": check_crm,
        "support": _support,
        "costs": check_costs,
        "survey": check_survey,
        "blueshift": check_blueshift,
        "slack": check_slack,
        "mail": check_mail,
        "dagster": check_dagster,
    }
    return {name: partial(check, settings) for name, check in of_settings.items()}


def _support(settings: Settings) -> list[Finding]:
    return check_support(settings, settings.clock())


def check_dagster(settings: Settings) -> list[Finding]:
    """Whether its storage answers, and whether a run stands as started whose process is gone."""
    if not (settings.home.dagster / "dagster.yaml").exists():
        return [Finding(check="dagster", state="ok", found="not used yet")]
    findings = []
    with open_instance(settings) as instance:
        runs = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        for record in runs:
            pid, age = record.dagster_run.tags.get(PID_TAG), datetime.now(UTC) - record.create_timestamp
            gone = pid is not None and not is_alive(int(pid))
            if gone:
                found = f"run {record.dagster_run.run_id[:8]} stands as started, but its process {pid} is gone"
                findings.append(
                    Finding(
                        check="dagster",
                        state="warning",
                        found=found,
                        advice="it was killed; the next pass closes it: see `passes`",
                    )
                )
            elif pid is None and age > LONG_RUN:
                found = (
                    f"run {record.dagster_run.run_id[:8]} has been going on for {age.total_seconds() / 3600:.0f} hours"
                )
                findings.append(
                    Finding(check="dagster", state="warning", found=found, advice="terminate it in the UI if it hangs")
                )
        total = instance.get_runs_count()
    return findings or [Finding(check="dagster", state="ok", found=f"storage answers; {total} runs kept")]
