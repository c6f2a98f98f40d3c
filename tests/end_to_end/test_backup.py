"""A home that is lost and restored: nothing is sent twice, nothing is lost, and a change that came later is sent."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from tests.end_to_end.installation import Installation


def arrived(lender: Installation) -> dict[str, list[Any]]:
    """What vendors got: every request to marketing, messages with their edits, mails."""
    arrivals = lender.arrivals
    messages = [(one["ts"], one["edits"]) for one in arrivals["slack"]["messages"]]
    return {"requests": arrivals["blueshift"]["requests"], "messages": messages, "mails": arrivals["mail"]}


def remembered(lender: Installation) -> dict[str, list[tuple[Any, ...]]]:
    """Keys of people, and the balances of days gone by, which are in no source."""
    return {
        "people": lender.query("select source, source_id, person_key from trusted.map_customer_source order by all"),
        "balances": lender.query(
            "select as_of_date, market, product_id, currency, outstanding_principal from trusted.agg_portfolio_daily"
            " where outstanding_principal is not null order by all"
        ),
        "permissions": lender.query(
            "select person_key, channel, is_permitted from trusted.dim_contact_permission order by all"
        ),
    }


def test_a_lost_home_comes_back_and_nothing_is_sent_twice_or_lost(lender: Installation, tmp_path: Path) -> None:
    lender.sandbox("/tick", {"days": 1})
    version = lender.run()["version"]
    before, known = arrived(lender), remembered(lender)
    assert before["requests"]
    assert before["messages"]
    assert len({day for day, *_ in known["balances"]}) == 2

    archive = tmp_path / "backups" / "lender.tar.gz"
    done = lender.lendloop("backup", str(archive))
    assert done.returncode == 0, done.stderr
    assert "LENDLOOP_HASH_KEY, not in the archive" in done.stdout
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600

    lender.lose()
    done = lender.lendloop("restore", str(archive))
    assert done.returncode == 0, done.stderr
    report = lender.run()

    assert arrived(lender) == before
    assert remembered(lender) == known
    assert report["failures"] == []
    assert report["version"] > version, "readers see that what is published was made again"

    lender.sandbox("/tick", {"days": 1})
    report = lender.run()
    assert sum(one["added"] + one["changed"] + one["removed"] for one in report["audiences"]) > 0
    assert len(arrived(lender)["requests"]) > len(before["requests"])

    again = lender.lendloop("restore", str(archive))
    assert again.returncode == 2, "a home that is in use is not overwritten"
    assert "--force" in again.stderr
