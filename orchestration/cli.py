"""The `lendloop` command: run, status, alerts, kpi, check, lineage, doctor, backup, restore, prune, replay, dictionary,
identity, reconcile, quality, site, new, promote, reinstate, consumers, demo, dev, sandbox.

Every command calls what the sensors and assets call. Exit status: 0 done, 1 something that should
have been done failed (named), 2 wrong use or configuration. An error is one line; `--verbose` adds
the trace, `--json` prints what a script would read.
"""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

from lendloop.collector import collect_seldom
from lendloop.errors import ConfigurationError, LendloopError
from orchestration.commands_alerts import app as alerts_app
from orchestration.commands_governance import dictionary_app
from orchestration.commands_kpi import app as kpi_commands
from orchestration.commands_promotion import consumers, promote, reinstate
from orchestration.commands_quality import quality, reconcile
from orchestration.commands_scaffold import new_app

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="The data hub of a digital lender: sources in, one agreed truth, audiences and alerts out.",
)
app.add_typer(alerts_app, name="alerts")
app.add_typer(dictionary_app, name="dictionary")
app.add_typer(kpi_commands, name="kpi")
app.command()(reconcile)
app.command()(quality)
app.add_typer(new_app, name="new")
app.command()(promote)
app.command()(reinstate)
app.command()(consumers)
_state = {"verbose": False}

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


@app.callback()
def options(verbose: Annotated[bool, typer.Option("--verbose", help="Show the trace of an error.")] = False) -> None:
    _state["verbose"] = verbose


@app.command()
def run(as_json: Json = False) -> None:
    """One headless pass of the main job: load, build, publish, sync audiences, evaluate rules, notify."""
    from lendloop.settings import load_settings

    settings = load_settings()
    settings.require_companions()
    settings.clock()
    # only now what takes seconds to import: wrong settings are told at once
    from orchestration.run import run_pass
    from orchestration.screen import note, show_report

    with redirect_stdout(sys.stderr):
        report = run_pass(settings, (lambda line: None) if as_json else note)
    show_report(report, as_json=as_json)
    raise typer.Exit(1 if report.failures else 0)


@app.command()
def status(as_json: Json = False) -> None:
    """What stands now: sources, datasets, audiences, alerts. Opens no lock and calls nobody."""
    from lendloop.settings import load_settings
    from orchestration.report import make_report
    from orchestration.screen import show_report

    show_report(make_report(load_settings()), as_json=as_json)


@app.command()
def check(as_json: Json = False) -> None:
    """Check every definition offline: settings, dbt project, audiences, rules, routes, the asset graph."""
    from orchestration.check import check_all
    from orchestration.screen import show_checks

    results = check_all()
    show_checks(results, as_json=as_json)
    raise typer.Exit(2 if any(result.fault for result in results) else 0)


@app.command()
def lineage(
    column: Annotated[
        str, typer.Argument(help="zone.table.column, its end as long as that is clear, or the name of a KPI.")
    ],
    up: Annotated[bool, typer.Option("--up", help="Only what it is made of.")] = False,
    down: Annotated[bool, typer.Option("--down", help="Only what is made of it.")] = False,
    as_json: Json = False,
) -> None:
    """Where a column comes from, and where it goes: from a field of a source to KPIs, audiences and alerts."""
    from governance.kpis import read_kpis
    from lendloop.project import load_manifest
    from lendloop.settings import load_settings
    from orchestration.lineage import load_definitions
    from orchestration.lineage_tree import show_lineage

    settings = load_settings()
    graph = load_definitions(settings).graph
    kpis = {kpi.name: f"{kpi.table}.{kpi.column}" for kpi in read_kpis(load_manifest(settings.home))}
    show_lineage(graph, graph.find(kpis.get(column, column)), up=up or not down, down=down or not up, as_json=as_json)


@app.command()
def site(
    out: Annotated[
        Path | None, typer.Option(help="An empty or new folder, or an earlier site; default: the home's.")
    ] = None,
) -> None:
    """Dictionary, KPIs with charts, datasets and lineage as pages, with the figures of what is published."""
    from lendloop.settings import load_settings
    from orchestration.site import write_site

    typer.echo(write_site(load_settings(), out).absolute().as_uri())


@app.command()
def replay(
    source: Annotated[str, typer.Argument(help="crm, ledger, support, costs or survey")],
    table: Annotated[str | None, typer.Option(help="Only this raw table.")] = None,
    as_json: Json = False,
) -> None:
    """Try again the rows of a source that are in quarantine; those that now fit go to raw."""
    from lendloop.settings import SOURCES, load_settings

    if source not in SOURCES:
        raise ConfigurationError(f"unknown source {source!r}: one of {', '.join(SOURCES)}")
    from ingestion.load import replay_quarantine
    from orchestration.screen import show_record

    settings = load_settings()
    report = replay_quarantine(source, settings, settings.clock(), table)  # type: ignore[arg-type]
    show_record(report.model_dump(mode="json"), as_json=as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Look at everything an installation needs, from versions to vendors. Changes nothing and sends nothing."""
    from orchestration.doctor import examine
    from orchestration.screen import show_findings

    with redirect_stdout(sys.stderr):
        findings = examine()
    show_findings(findings, as_json=as_json)
    raise typer.Exit(1 if any(finding.state == "failure" for finding in findings) else 0)


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A new .tar.gz file, or a new folder.")],
    with_warehouse: Annotated[
        bool,
        typer.Option("--with-warehouse", help="Also the warehouse and what is published, which can be built anew."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Everything that can't be had again as one archive. It holds personal data, and often the key: keep it secret."""
    from lendloop.settings import load_settings
    from orchestration.backup import make_backup
    from orchestration.screen import show_record

    settings = load_settings()
    with redirect_stdout(sys.stderr):
        manifest = make_backup(settings, settings.clock(), target, with_warehouse=with_warehouse)
    key = "in the archive" if manifest.hash_key_inside else "LENDLOOP_HASH_KEY, not in the archive: keep it apart"
    size = sum(file.bytes for file in manifest.files.values())
    record = {
        "backup": str(target),
        "files": len(manifest.files),
        "bytes": size,
        "as_of": manifest.as_of,
        "hash key": key,
    }
    show_record(record, as_json=as_json)


@app.command()
def restore(
    source: Annotated[Path, typer.Argument(help="What `lendloop backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Move aside what the home holds.")] = False,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of the home, verified before anything is touched. The next pass does the rest."""
    from lendloop.settings import load_settings
    from orchestration.backup import restore_backup
    from orchestration.screen import show_record

    settings = load_settings()
    with redirect_stdout(sys.stderr):
        manifest, aside = restore_backup(settings, source, force=force)
    record = {"restored": str(settings.home.root), "made_at": manifest.made_at, "as_of": manifest.as_of}
    record |= {"kept aside": str(aside)} if aside else {}
    show_record(record, as_json=as_json)


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False, as_json: Json = False
) -> None:
    """Delete what is older than the settings keep. Every pass does it once a day."""
    from datetime import UTC, datetime

    from lendloop.settings import load_settings
    from orchestration.instance import open_instance
    from orchestration.retention import prune_all
    from orchestration.screen import show_pruned

    settings = load_settings()
    with redirect_stdout(sys.stderr), open_instance(settings) as instance:
        pruned = prune_all(settings, settings.clock(), instance, datetime.now(UTC), dry_run=dry_run)
    show_pruned(pruned, dry_run=dry_run, as_json=as_json)


identity = typer.Typer(no_args_is_help=True, help="Who is who: pairs to review, decisions, merges and splits.")
app.add_typer(identity, name="identity")
By = Annotated[str, typer.Option("--by", help="Who decides.")]
Because = Annotated[str, typer.Option("--because", help="Why, in words.")]


@identity.command("review")
def identity_review(as_json: Json = False) -> None:
    """Pairs of records that may be one person and wait for somebody to decide."""
    from lendloop.identity import review
    from lendloop.settings import load_settings
    from orchestration.screen import show_list

    title = "To review (+ speaks for one person, - against it, in powers of two)"
    show_list(title, [question.model_dump(mode="json") for question in review(load_settings())], as_json=as_json)


@identity.command("decide")
def identity_decide(
    pair: Annotated[str, typer.Argument(help="Two records, as the review lists them: crm:101,ledger:7")],
    verdict: Annotated[str, typer.Argument(help="same, different, or open to take a decision back")],
    by: By,
    because: Because,
    as_json: Json = False,
) -> None:
    """Say whether two records are one person; the next pass follows."""
    from typing import get_args

    from lendloop.identity import Verdict, decide
    from lendloop.settings import load_settings
    from orchestration.screen import show_record

    if verdict not in get_args(Verdict):
        raise ConfigurationError(f"unknown verdict {verdict!r}: one of {', '.join(get_args(Verdict))}")
    decision = decide(load_settings(), pair, verdict, by=by, because=because)  # type: ignore[arg-type]
    show_record(decision.model_dump(mode="json"), as_json=as_json)


@identity.command("events")
def identity_events(as_json: Json = False) -> None:
    """Merges and splits of people, the latest first."""
    from lendloop.identity import events
    from lendloop.settings import load_settings
    from orchestration.screen import show_list

    found = [event.model_dump(mode="json") for event in events(load_settings())]
    if not as_json:
        for event in found:
            event |= {name: event[name][:12] for name in ("event", "from_person", "to_person")}
    show_list("Merges and splits", found, as_json=as_json)


@identity.command("undo")
def identity_undo(
    event: Annotated[str, typer.Argument(help="An event, or how it begins.")],
    by: By,
    because: Because,
    as_json: Json = False,
) -> None:
    """Take a merge or a split back; the next pass follows, and people have the keys they had before."""
    from lendloop.identity import undo
    from lendloop.settings import load_settings
    from orchestration.screen import show_list

    decisions = undo(load_settings(), event, by=by, because=because)
    show_list("Decided", [decision.model_dump(mode="json") for decision in decisions], as_json=as_json)


@app.command()
def demo(
    customers: Annotated[int, typer.Option(help="How many customers the pretend lender has.")] = 20_000,
    as_json: Json = False,
) -> None:
    """The whole system on a pretend lender: two passes with a day between them, and what came of it."""
    from orchestration.demo import run_demo

    raise typer.Exit(run_demo(customers, as_json=as_json))


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    customers: Annotated[int, typer.Option(help="How many customers the pretend lender has.")] = 20_000,
) -> None:
    """Sandbox, Dagster UI and daemon with the demo data loaded, until Ctrl-C."""
    from orchestration.dev import run_dev

    raise typer.Exit(run_dev(port, customers))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def sandbox(context: typer.Context) -> None:
    """The pretend lender and its vendors' stand-ins: serve, tick (see `lendloop sandbox --help`)."""
    os.execv(sys.executable, [sys.executable, "-m", "sandbox", *context.args])  # noqa: S606


def main(arguments: list[str] | None = None) -> None:
    """Entry point: runs a command and turns its outcome into an exit status."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    collect_seldom()
    command: Any = typer.main.get_command(app)
    try:
        outcome = command.main(args=arguments, prog_name="lendloop", standalone_mode=False)
    except ConfigurationError as error:
        _complain(error, 2)
    except LendloopError as error:
        _complain(error, 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except typer.Exit as leaving:
        sys.exit(leaving.exit_code)
    except Exception as error:  # noqa: BLE001 - the border to a person: one line, and the trace on demand
        if hasattr(error, "format_message"):
            _complain(error.format_message(), getattr(error, "exit_code", 2))
        if fault := _fault_of_home(error):
            _complain(fault, 2 if isinstance(error, PermissionError) else 1, error)
        _complain(f"{type(error).__name__}: {error} (run again with --verbose for the trace)", 1, error)
    sys.exit(outcome if isinstance(outcome, int) else 0)


def _fault_of_home(error: Exception) -> str | None:
    """What is wrong with the disk under the home, where that is what an error speaks of."""
    from lendloop.settings import load_settings
    from lendloop.storage import storage_fault

    try:
        return storage_fault(load_settings().home, error)
    except ConfigurationError:
        return None


def _complain(error: Exception | str, code: int, trace: Exception | None = None) -> None:
    if _state["verbose"]:
        import traceback

        traceback.print_exception(trace or (error if isinstance(error, Exception) else None))
    typer.echo(f"lendloop: {error}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
