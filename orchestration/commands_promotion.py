"""`lendloop promote`, `reinstate` and `consumers`: into trusted, back after a demotion, and who reads what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lendloop.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from governance.promotion import Requirement


def promote(
    model: Annotated[str, typer.Argument(help="A draft in gray, by its name.")],
    approver: Annotated[str, typer.Option(help="Who lets it in: a person or a team other than its owner.")] = "",
    name: Annotated[str, typer.Option("--as", help="Its name in trusted, e.g. fct_… for int_….")] = "",
    days: Annotated[
        int | None, typer.Option(help="Clean days in a row that it needs, where more than usual are wanted.")
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write the change to the working tree.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """What a draft lacks for trusted; when nothing, the change that moves it, as a diff."""
    from governance.manifest import read_manifest
    from governance.promotion import CLEAN_DAYS, apply_change, as_diff, judge_gate, promotion, refuse_missing
    from lendloop.days import read_days
    from lendloop.home import DBT_PROJECT
    from lendloop.settings import load_settings
    from orchestration.lineage import load_definitions
    from orchestration.screen import print_json

    if days is not None and days < CLEAN_DAYS:
        raise ConfigurationError(f"--days {days}: trusted asks for at least {CLEAN_DAYS} clean days of every draft")
    settings = load_settings()
    manifest = read_manifest(settings.home)
    found = next((one for one in manifest.models.values() if one.name == model), None)
    if found is None:
        like = nearest(model, (one.name for one in manifest.models.values() if one.zone == "gray"))
        raise ConfigurationError(f"no model is called {model}{like}")
    if found.zone != "gray" or found.materialized == "seed":
        raise ConfigurationError(f"{model} is in {found.zone}: only a model of gray is promoted")
    requirements = judge_gate(
        found,
        manifest,
        load_definitions(settings).graph,
        approver=approver or None,
        clean_days=read_days(settings.home).clean_days(found.key, strictly=True),
        needed_days=days or CLEAN_DAYS,
    )
    ready = all(requirement.passed for requirement in requirements)
    diff = ""
    if ready:
        who = next(one.found for one in requirements if one.name == "approver")
        change = promotion(
            found, DBT_PROJECT, approver=who, on=settings.clock().business_date("UTC"), name=name or None
        )
        diff = as_diff(change, DBT_PROJECT, DBT_PROJECT.name)
        if apply:
            apply_change(change, DBT_PROJECT)
    if as_json:
        listed = [
            {"name": one.name, "passed": one.passed, "found": one.found, "missing": list(one.missing)}
            for one in requirements
        ]
        print_json(
            {"model": found.key, "ready": ready, "requirements": listed, "diff": diff, "applied": apply and ready}
        )
    else:
        _tell(requirements, to_stderr=ready)
        typer.echo(diff, nl=False)
    refuse_missing(found, requirements)
    if apply and not as_json:
        typer.echo(
            f"written to {Path(DBT_PROJECT.name)}: `git diff` shows it, `lendloop check` repeats the gate", err=True
        )


def reinstate(
    dataset: Annotated[str, typer.Argument(help="A demoted dataset, as zone.table.")],
    by: Annotated[str, typer.Option(help="Who stands for it.")],
    because: Annotated[str, typer.Option(help="Why its promise holds again.")],
) -> None:
    """Let audiences and rules read a demoted dataset again, once its checks have been clean for days."""
    from lendloop import standing
    from lendloop.settings import load_settings

    settings = load_settings()
    done = standing.reinstate(
        settings.home, dataset, settings.clock(), by=by, because=because, timeout_s=settings.lock_timeout_s
    )
    typer.echo(f"{dataset} is agreed again, by {done.by}: {done.because}; the next pass tells its readers")


def consumers(
    dataset: Annotated[str, typer.Argument(help="A dataset by name or zone.name, with .vN one version of it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Who reads a dataset, version by version, each with the team to ask; and when a version goes."""
    from governance.manifest import read_manifest
    from governance.promotion import consumers_with_owners
    from governance.versions import find_dataset
    from lendloop.settings import load_settings
    from orchestration.lineage import load_definitions
    from orchestration.screen import print_json

    settings = load_settings()
    manifest, definitions = read_manifest(settings.home), load_definitions(settings, held=False)
    read = {
        model.key: (model, consumers_with_owners(model.key, manifest, definitions.graph, definitions.owners))
        for model in find_dataset(dataset, manifest)
    }
    if as_json:
        listed = [
            {"dataset": one.key, "version": one.version or None, "goes_on": one.goes_on, "consumers": who}
            for one, who in read.values()
        ]
        print_json({"datasets": listed})
        return
    for one, who in read.values():
        goes = f", goes on {one.goes_on}" if one.goes_on else ""
        typer.echo(f"{one.key}{goes}: {len(who)} consumers")
        for reader in who:
            typer.echo(f"  {reader}")


def _tell(requirements: list[Requirement], *, to_stderr: bool) -> None:
    """One line a requirement; on standard error where a diff follows, so that the diff can be taken as it is."""
    for one in requirements:
        if one.passed:
            typer.echo(f"{one.name}: ok {one.found}".rstrip(), err=to_stderr)
        for line in one.missing:
            typer.echo(f"{one.name}: missing {line}", err=to_stderr)
