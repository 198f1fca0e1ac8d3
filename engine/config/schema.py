"""JSON Schemas of the files that people write, for editors; generated from the classes that check them.

`python -m engine.config.schema` writes them anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from engine.config.fields import Section
from engine.config.runbook_file import RunbookFile
from engine.config.settings_file import SettingsFile
from engine.promql.literals import print_duration

FOLDER = Path(__file__).parent
FILES: dict[str, type[Section]] = {"runbook.schema.json": RunbookFile, "settings.schema.json": SettingsFile}


def schema(section: type[Section]) -> dict[str, Any]:
    """Return the JSON Schema of a file."""
    written = section.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_without_noise(written)}


def text(section: type[Section]) -> str:
    """Return the JSON Schema of a file as it is committed."""
    return json.dumps(schema(section), indent=2, ensure_ascii=False) + "\n"


def _without_noise(value: Any) -> Any:
    """Leave out what pydantic derives from names and defaults that say nothing; durations are what people write."""
    if isinstance(value, list):
        return [_without_noise(below) for below in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _without_noise(below) for key, below in value.items()}
    if isinstance(kept.get("title"), str) and "properties" not in kept:
        del kept["title"]
    if kept.get("default", 0) in (None, "", [], {}):
        del kept["default"]
    if isinstance(kept.get("default"), float) and "number" not in json.dumps(kept):
        kept["default"] = print_duration(round(kept["default"] * 1000))
    return kept


if __name__ == "__main__":
    for name, kind in FILES.items():
        (FOLDER / name).write_text(text(kind), encoding="utf-8")
