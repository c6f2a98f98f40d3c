"""`lendloop promote`: what it refuses before it looks at anything."""

from __future__ import annotations

import pytest

from orchestration.cli import main


def test_nobody_asks_for_fewer_clean_days_than_trusted_does(
    clean_environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(["promote", "int_loan", "--days", "1"])
    assert left.value.code == 2
    assert "--days 1: trusted asks for at least 5 clean days" in capsys.readouterr().err
