"""Where Dagster stores: PostgreSQL by URL, with its password in the environment only."""

from __future__ import annotations

import pytest
import yaml

from lendloop.errors import ConfigurationError
from lendloop.settings import load_settings
from orchestration.instance import prepare_dagster_home, storage_url


def test_the_configuration_names_the_variable_and_holds_no_secret(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("LENDLOOP_DAGSTER_URL", "postgresql://hub:hush%2Fhush@db:5433/lendloop?sslmode=require")
    home = prepare_dagster_home(load_settings())
    text = (home / "dagster.yaml").read_text()
    assert yaml.safe_load(text)["storage"] == {"postgres": {"postgres_url": {"env": "LENDLOOP_DAGSTER_URL"}}}
    assert "hush" not in text
    url = storage_url(load_settings())
    assert (url.drivername, url.password, url.query["sslmode"]) == ("postgresql+psycopg2", "hush/hush", "require")
    assert url.query["options"] == "-ctimezone=UTC"


def test_without_a_url_dagster_stores_in_the_home_again(clean_environment: pytest.MonkeyPatch) -> None:
    clean_environment.setenv("LENDLOOP_DAGSTER_URL", "postgresql://db/lendloop")
    prepare_dagster_home(load_settings())
    clean_environment.delenv("LENDLOOP_DAGSTER_URL")
    home = prepare_dagster_home(load_settings())
    assert "storage" not in yaml.safe_load((home / "dagster.yaml").read_text())


@pytest.mark.parametrize("url", ["mysql://db/lendloop", "sqlite:///x", "nowhere"])
def test_a_url_that_cannot_hold_dagsters_storage_is_named(clean_environment: pytest.MonkeyPatch, url: str) -> None:
    clean_environment.setenv("LENDLOOP_DAGSTER_URL", url)
    with pytest.raises(ConfigurationError, match="LENDLOOP_DAGSTER_URL"):
        prepare_dagster_home(load_settings())
