"""`lendloop new`: files for what is added, with blanks that `lendloop check` names until they are filled in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lendloop.settings import Settings

new_app = typer.Typer(no_args_is_help=True, help="Files for a new model, audience, rule or source, to be filled in.")
Name = Annotated[str, typer.Argument(help="Small letters, digits and _.")]


@new_app.command()
def model(
    name: Name,
    group: Annotated[str, typer.Option(help="The consistency group it is built and published with.")],
    trusted: Annotated[bool, typer.Option("--trusted", help="Declare all that trusted asks for.")] = False,
) -> None:
    """A draft in gray: SQL and YAML."""
    from governance.scaffold import model_files, write_new
    from lendloop.home import DBT_PROJECT

    files = model_files(name, group, DBT_PROJECT, promises=trusted)
    _tell(write_new(DBT_PROJECT, files), [f"`lendloop promote {name}` says what trusted still asks for"])


@new_app.command()
def audience(name: Name) -> None:
    """Whom to write to: a YAML file."""
    from activation.audiences import Audience

    _definition("audience", name, Audience.model_json_schema(), {"version": 1})


@new_app.command()
def rule(name: Name) -> None:
    """What to watch: a YAML file."""
    from activation.rules.load import rule_schema

    link = "{base}/assets/rules/{rule}"
    _definition("rule", name, rule_schema(), {"link": link})


@new_app.command()
def source(
    name: Name,
    table: Annotated[str, typer.Option(help="Its first table.")],
    about: Annotated[str, typer.Option(help="What it is, in a sentence.")],
    group: Annotated[str, typer.Option(help="The consistency group of its first staging model.")],
) -> None:
    """A system to load from: its reader, its tables, its first staging model, and its name where all sources are named."""
    from governance.scaffold import source_edits, source_files, write_new
    from lendloop.home import CHECKOUT, DBT_PROJECT

    files = source_files(name, table, about, group, DBT_PROJECT)
    edits = source_edits(CHECKOUT, name, table, about)
    paths = write_new(CHECKOUT, files)
    for path, text in edits.items():
        (CHECKOUT / path).write_text(text, encoding="utf-8")
        typer.echo(f"added {name} to {path}")
    variable = f"LENDLOOP_{name.upper()}_URL"
    then = [
        f"set {variable}, explain it in .env.example, and add what a secret needs to lendloop/settings.py",
        "a table with a cursor, deletions or a page at a time: ingestion/crm.py and ingestion/support.py show how",
        "run `ruff format`, and make tests/orchestration/asset_graph.json anew as its test says",
    ]
    _tell(paths, then)


def _definition(kind: str, name: str, schema: dict[str, object], known: dict[str, object]) -> None:
    from governance.scaffold import definition_file, write_new
    from lendloop.settings import load_settings

    text = definition_file(kind, name, schema, known)
    _tell(write_new(load_settings().definitions, {Path(f"{kind}s/{name}.yaml"): text}), [])


def _tell(paths: list[Path], then: list[str]) -> None:
    for path in paths:
        typer.echo(f"wrote {path}")
    for line in ["fill in each `<FILL IN …>`; `lendloop check` names those that are left", *then]:
        typer.echo(line)


def places_of_blanks(settings: Settings) -> list[Path]:
    """Where scaffolded files are written, and so where a blank may be left."""
    from lendloop.home import CHECKOUT, DBT_PROJECT

    return [DBT_PROJECT / "models", settings.definitions, CHECKOUT / "ingestion"]
