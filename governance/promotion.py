"""The gate between gray and trusted: what it asks of a dataset, who reads it, and the change that moves it.

What belongs here: the requirements by name, and the files as they are afterwards. What does not: which audiences and
rules there are (they come as the ends of the graph), and writing files.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from governance.access import judge_classes
from governance.dictionary import judge_dictionary
from governance.faults import Fault
from governance.lineage import Graph
from governance.manifest import Manifest, Model
from governance.registry import judge_registry
from lendloop.errors import ConfigurationError, PermanentError

CLEAN_DAYS = 5
"""Business days in a row that a draft's checks pass before it is trusted."""
GATED = ("trusted", "kpi")
REQUIREMENTS = (
    "contract",
    "owner",
    "terms",
    "tests",
    "freshness",
    "consumers",
    "clean days",
    "personal data",
    "approver",
    "promises",
)
_OF_META = {
    "owner": "owner",
    "steward": "owner",
    "freshness": "freshness",
    "consistency": "tests",
    "term": "terms",
    "pii": "personal data",
    "pii_lowered": "personal data",
    "consumers": "consumers",
    "approved": "approver",
}
"""The requirement that a fault in a key of meta is told under; of any other key it is `promises`."""


@dataclass(frozen=True)
class Requirement:
    """One thing that the gate asks: what there is of it, or one line for each thing that is missing."""

    name: str
    missing: tuple[str, ...]
    found: str = ""

    @property
    def passed(self) -> bool:
        return not self.missing


def judge_gate(
    model: Model,
    manifest: Manifest,
    graph: Graph,
    *,
    approver: str | None = None,
    clean_days: int | None = None,
    needed_days: int = CLEAN_DAYS,
) -> list[Requirement]:
    """Everything that trusted asks of a model, in the order of `REQUIREMENTS`.

    `graph` ends in the audiences and rules. `approver` is who lets it in now, else who did is read from its meta.
    `clean_days`: how many there are; None leaves them out, since only an installation knows them.
    """
    trusted = replace(model, zone="trusted") if model.zone not in GATED else model
    others = {key: one for key, one in manifest.models.items() if one.unique_id != model.unique_id}
    as_trusted = replace(manifest, models={**others, trusted.key: trusted})
    missing: dict[str, list[str]] = {name: [] for name in REQUIREMENTS}
    for fault in judge_registry(as_trusted)[1]:
        if _is_of(fault, model):
            missing[_OF_META.get(fault.about, "promises")].append(_said(fault, model))
    missing["terms"] += [
        _said(fault, model)
        for fault in judge_dictionary(as_trusted)[1]
        if _is_of(fault, model) and _said(fault, model) not in missing["terms"]
    ]
    missing["personal data"] += [line for line in judge_classes(graph) if f" {model.key}." in line]
    missing["contract"] += _no_contract(model)
    missing["tests"] += _untested_key(model, manifest)
    readers = consumers_of(model, manifest, graph)
    if not readers and not model.deprecated:
        missing["consumers"].append(
            "nobody reads it; name it in an exposure, or name the teams that do in `consumers` of its meta"
        )
    by, owner = approver or _approved_by(model), str(model.meta.get("owner") or "")
    if not by:
        missing["approver"].append("nobody has let it in; somebody other than its owner does, with --approver")
    elif by == owner:
        missing["approver"].append(f"{by} owns it; somebody else lets it in")
    found = {
        "contract": f"{len(model.columns)} columns with their types",
        "owner": f"{owner}, kept by {model.meta.get('steward')}",
        "consumers": ", ".join(readers),
        "approver": by or "",
    }
    if clean_days is None:
        del missing["clean days"]
    else:
        found["clean days"] = f"{clean_days} in a row"
        if clean_days < needed_days:
            missing["clean days"].append(
                f"{clean_days} in a row of {needed_days}; build it and let its tests pass every day until then"
            )
    return [Requirement(name, tuple(lines), found.get(name, "")) for name, lines in missing.items()]


def check_gate(manifest: Manifest, graph: Graph) -> int:
    """Hold every trusted and kpi model against the gate, without the days. Returns how many there are.

    Raises ConfigurationError with one line for each thing that one lacks.
    """
    models = [model for model in manifest.governed if model.zone in GATED]
    lines = [
        f"{model.yaml}: {model.name}: {requirement.name}: {line}"
        for model in models
        for requirement in judge_gate(model, manifest, graph)
        for line in requirement.missing
    ]
    if lines:
        raise ConfigurationError("\n".join(lines))
    return len(models)


def consumers_of(model: Model, manifest: Manifest, graph: Graph) -> list[str]:
    """Who reads a dataset: exposures, agreed datasets (through drafts too), audiences, rules, and teams that it names."""
    read = {model.unique_id}
    found: set[str] = set()
    open_ends = [model.unique_id]
    while open_ends:
        parent = open_ends.pop()
        for child in manifest.models.values():
            if parent in child.depends_on and child.unique_id not in read:
                read.add(child.unique_id)
                if child.is_governed:
                    found.add(child.key)
                else:
                    open_ends.append(child.unique_id)
    found |= {f"exposure {name}" for name, reads in manifest.exposures.items() if model.unique_id in reads}
    for table in graph.tables.values():
        if table.zone in ("audiences", "rules"):
            refs = [*table.rows, *(ref for column in table.columns.values() for ref in column.uses)]
            if any(ref.startswith(f"{model.key}.") for ref in refs):
                found.add(table.key)
    return sorted(found) + [f"team {team}" for team in model.meta.get("consumers", [])]


def consumers_with_owners(key: str, manifest: Manifest, graph: Graph, owners: Mapping[str, str]) -> list[str]:
    """Who reads a dataset, each with the team to tell. `owners`: of `audiences.<name>` and `rules.<name>`."""
    model = manifest.models.get(key)
    known = {**{one.key: str(one.meta.get("owner")) for one in manifest.models.values()}, **owners}
    readers = consumers_of(model, manifest, graph) if model else []
    return [f"{reader} ({known[reader]})" if reader in known else reader for reader in readers]


def _is_of(fault: Fault, model: Model) -> bool:
    return fault.subject == model.name or fault.subject.startswith(f"{model.name}.")


def _said(fault: Fault, model: Model) -> str:
    """A fault without its file, which the model's is."""
    subject = fault.subject.removeprefix(model.name).removeprefix(".")
    return ": ".join(part for part in (subject, f"{fault.what}; {fault.advice}") if part)


def _no_contract(model: Model) -> list[str]:
    lines = []
    if not model.has_contract:
        lines.append("dbt does not hold it to its columns; write `contract: {enforced: true}` in its config")
    if model.materialized not in ("table", "incremental"):
        lines.append(f"it is materialized as {model.materialized}, which holds no key; make it a table or incremental")
    if not model.columns:
        lines.append("it declares no columns; write each with its type")
    lines += [f"{name} has no type; write its data_type" for name, one in model.columns.items() if not one.data_type]
    return lines


def _untested_key(model: Model, manifest: Manifest) -> list[str]:
    """What of its key nothing holds: a data test, or the primary key of a contract, which the table itself enforces."""
    key = tuple(str(name) for name in model.meta.get("key", ()))
    if not key:
        return ["it has no key; declare `key` in its meta, and test it"]
    if model.has_contract and model.primary_key == key and model.materialized in ("table", "incremental"):
        return []
    tests = [test for test in manifest.tests if test.attached == model.unique_id]
    single = len(key) == 1 and any(test.kind == "unique" and test.column == key[0] for test in tests)
    several = any(
        test.kind == "unique_combination" and set(map(str, test.arguments.get("columns", ()))) == set(key)
        for test in tests
    )
    filled = {test.column for test in tests if test.kind == "not_null"}
    lines = [] if single or several else [f"nothing holds {', '.join(key)} unique; test it, or make it the primary key"]
    return lines + [
        f"nothing holds {name} filled; write not_null in its constraints"
        for name in key
        if name not in filled and not (name in model.columns and model.columns[name].is_required)
    ]


def _approved_by(model: Model) -> str | None:
    approved = model.meta.get("approved")
    return str(approved.get("by")) if isinstance(approved, Mapping) and approved.get("by") else None


Change = dict[Path, str | None]
"""The files of a change by path, relative to the dbt project: their text afterwards, None for one that goes."""


def promotion(model: Model, project: Path, *, approver: str, on: date, name: str | None = None) -> Change:
    """The change that moves a draft to trusted, under `name` when it gets another one there.

    Its SQL goes to the folder of its group, its declaration to a file of its own, with the approval in it; whoever
    refers to it by its old name gets the new one. Raises ConfigurationError when a file is in the way, or a declaration
    is not written so that it can be moved.
    """
    named = name or model.name
    folder = Path("models/trusted") / str(model.group)
    source, declared = Path(model.file), Path(model.yaml)
    target, declaration = folder / f"{named}{source.suffix}", folder / f"_{named}.yml"
    for path in (target, declaration):
        if (project / path).exists():
            raise ConfigurationError(f"{path} is there already")
    rest, block = _cut((project / declared).read_text(encoding="utf-8"), model.name, declared)
    change: Change = {
        source: None,
        target: (project / source).read_text(encoding="utf-8"),
        declared: rest,
        declaration: f"version: 2\n\nmodels:\n{_approve(block, approver, on, model.name, declared)}",
    }
    if named != model.name:
        old = re.compile(rf"\b{re.escape(model.name)}\b")
        for path in sorted(project.rglob("*")):
            relative = path.relative_to(project)
            if (
                path.suffix in (".sql", ".yml", ".py", ".md")
                and relative not in change
                and relative.parts[0] != "target"
            ):
                text = path.read_text(encoding="utf-8")
                if old.search(text):
                    change[relative] = old.sub(named, text)
        for path in (target, declaration, declared):
            text_after = change[path]
            change[path] = old.sub(named, text_after) if text_after else text_after
    return change


def as_diff(change: Change, project: Path, prefix: str) -> str:
    """A change as a unified diff, as git reads it. `prefix` is the project's folder in the checkout."""
    parts: list[str] = []
    for path, text in sorted(change.items()):
        file = project / path
        before = file.read_text(encoding="utf-8").splitlines(keepends=True) if file.exists() else []
        after = [] if text is None else text.splitlines(keepends=True)
        old = f"a/{prefix}/{path}" if file.exists() else "/dev/null"
        new = "/dev/null" if text is None else f"b/{prefix}/{path}"
        parts += difflib.unified_diff(before, after, old, new)
    return "".join(parts)


def apply_change(change: Change, project: Path) -> None:
    """Write a change to the working tree, where git shows it; a file goes only after all that is new is written."""
    for path, text in change.items():
        if text is not None:
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_text(text, encoding="utf-8")
    for path, text in change.items():
        if text is None:
            (project / path).unlink()


def _cut(text: str, name: str, file: Path) -> tuple[str | None, str]:
    """A file of declarations without one model, None when nothing is left of it, and that model's own lines."""
    lines = text.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if re.match(rf"  - name: {re.escape(name)}\s*$", line)]
    if len(starts) != 1:
        raise ConfigurationError(f"{file}: {name} is not declared by a line `  - name: {name}` of its own")
    start = starts[0]
    end = next((number for number in range(start + 1, len(lines)) if re.match(r"  - |\S", lines[number])), len(lines))
    block = "".join(lines[start:end]).rstrip() + "\n"
    rest = "".join([*lines[:start], *lines[end:]])
    return (rest if re.search(r"^ +- ", rest, re.MULTILINE) else None), block


def _approve(block: str, approver: str, on: date, name: str, file: Path) -> str:
    """A declaration with the approval in its meta, and without what the folder of trusted says for all."""
    meta = re.search(r"^(      )meta:\s*\n(\s+)", block, re.MULTILINE)
    if meta is None:
        raise ConfigurationError(f"{file}: {name} has no `meta:` under `config:` with a line for each key")
    approval = f"approved: {{by: {_quoted(approver)}, date: '{on.isoformat()}'}}\n{meta[2]}"
    block = block[: meta.end()] + approval + block[meta.end() :]
    return re.sub(r"^      (materialized: table|contract: \{enforced: true\})\n", "", block, flags=re.MULTILINE)


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z][\w -]*", text) else "'" + text.replace("'", "''") + "'"


def refuse_missing(model: Model, requirements: Iterable[Requirement]) -> None:
    """Raise PermanentError that names every requirement that is not met."""
    if names := [requirement.name for requirement in requirements if not requirement.passed]:
        raise PermanentError(f"{model.name} is not ready for trusted: {', '.join(names)}")
