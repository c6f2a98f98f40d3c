"""Rules from their files: one YAML file a rule, refused as a whole when anything is missing or wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from activation.door import Door, judge_rule, with_way
from activation.rules.model import Rule
from activation.sqlguard import ZoneError
from lendloop.errors import ConfigurationError


def load_rules(folder: Path, door: Door | None = None) -> list[Rule]:
    """The rules in `folder/rules/*.yaml` (or `folder/*.yaml` when it is that folder), by name.

    A missing folder has none. `door` holds each against the columns that it uses; without one only the files are read,
    as an editor does. Raises ConfigurationError that names every file and field at fault.
    """
    files = folder if folder.name == "rules" else folder / "rules"
    rules: dict[str, Rule] = {}
    faults: list[str] = []
    for path in sorted([*files.glob("*.yaml"), *files.glob("*.yml")]):
        try:
            raw = read_yaml(path)
            rule = Rule.model_validate(raw)
            faults.extend(judge_rule(rule, door, str(path)) if door else [])
        except ValidationError as error:
            faults.extend(f"{path}: {fault}" for fault in describe(error))
            continue
        except ZoneError as error:
            told = with_way(error, str(raw["sql"]), f"rules.{raw['rule']}", door.graph) if door else error
            faults.append(f"{path}: {told}")
            continue
        except ConfigurationError as error:
            faults.append(f"{path}: {error}")
            continue
        if rule.rule in rules:
            faults.append(f"{path}: rule: another file is called {rule.rule} too")
        rules[rule.rule] = rule
    if faults:
        raise ConfigurationError("\n".join(faults))
    return [rules[name] for name in sorted(rules)]


def rule_schema() -> dict[str, Any]:
    """The JSON Schema of a rule's file, for editors."""
    schema = Rule.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "A rule of lendloop"}


def read_yaml(path: Path) -> Any:
    """A YAML file's content. Raises ConfigurationError that names the line."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"is no YAML: {' '.join(str(error).split())}") from None


def describe(error: ValidationError) -> list[str]:
    """Each fault as `field: what is wrong`."""
    lines = []
    for fault in error.errors():
        where = ".".join(str(part) for part in fault["loc"] if part not in ("value", "values") or len(fault["loc"]) < 3)
        text = fault["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {text}" if where else text)
    return lines
