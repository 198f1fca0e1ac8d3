"""From what pydantic finds to problems that people can mend: the place, the sentence, the fix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from engine.config.document import Document
from engine.config.errors import Problem, closest, did_you_mean, quoted
from engine.config.fields import Section, kind
from engine.config.tree import KeyPath

S = TypeVar("S", bound=Section)


def check(
    section: type[S], data: Mapping[str, object], document: Document, under: KeyPath = ()
) -> tuple[S | None, tuple[Problem, ...]]:
    """Return the mapping as its class, or None and everything that is wrong with it.

    `under` leads from the document's root to the mapping.
    """
    try:
        return section.model_validate(dict(data)), ()
    except ValidationError as error:
        found = error.errors(include_url=False)
        # a key that is misspelt is not missing as well
        meant = {(*one["loc"][:-1], _meant(section, one["loc"])) for one in found if one["type"] == "extra_forbidden"}
        left = [one for one in found if one["type"] != "missing" or one["loc"] not in meant]
        return None, tuple(_problem(section, one, document, under) for one in left)


def _meant(section: type[Section], location: KeyPath) -> str | None:
    """Return the key that an unknown one is closest to."""
    parent = section_at(section, location[:-1])
    return closest(str(location[-1]), keys_of(parent)) if parent is not None else None


def _problem(section: type[Section], error: Any, document: Document, under: KeyPath) -> Problem:
    location: KeyPath = tuple(part for part in error["loc"] if part != "[key]")
    path = (*under, *location)
    match error["type"]:
        case "extra_forbidden":
            return _unknown(section, location, path, document)
        case "missing":
            missing = str(location[-1])
            return document.problem("missing-key", f"'{missing}' is missing{_why(missing)}", path[:-1], at_key=True)
        case "model_type" | "mapping_type" | "dict_type" | "model_attributes_type":
            message = f"expected a mapping of keys to values, not {kind(error['input'])}"
            return document.problem("wrong-type", message, path)
        case "tuple_type" | "list_type":
            return document.problem("wrong-type", f"expected a list, not {kind(error['input'])}", path)
        case "invalid_key":
            return document.problem("wrong-type", "a key must be text", path)
        case code:
            context = error.get("ctx", {})
            sentence = context.get("sentence", error["msg"])
            code = code if "sentence" in context else "wrong-value"
            at_key = "[key]" in error["loc"]
            offset, width = context.get("offset", 0), context.get("width", 1)
            return document.problem(
                code, sentence, path, at_key=at_key, offset=offset, width=width, fix=context.get("fix")
            )


def _unknown(section: type[Section], location: KeyPath, path: KeyPath, document: Document) -> Problem:
    key = str(location[-1])
    parent = section_at(section, location[:-1])
    coming = parent.LATER.get(key) if parent is not None else None
    if coming is not None:
        message = f"{quoted(key)} ({coming}) is not built yet and would be ignored"
        return document.problem("not-yet", message, path, at_key=True, fix="leave it out for now")
    elsewhere = parent.ELSEWHERE.get(key) if parent is not None else None
    if elsewhere is not None:
        return document.problem("unknown-key", quoted(key), path, at_key=True, fix=elsewhere)
    known = keys_of(parent) if parent is not None else []
    hint = parent.HINT if parent is not None else None
    fix = did_you_mean(key, known, cutoff=0.75 if hint else 0.6) or hint
    fix = fix or (f"there are {', '.join(known)}" if known else None)
    return document.problem("unknown-key", quoted(key), path, at_key=True, fix=fix)


def _why(key: str) -> str:
    return ": nothing is called healed that was not measured" if key == "verify" else ""


def keys_of(section: type[BaseModel]) -> list[str]:
    """Return the keys that a mapping may have, as they are written."""
    return [field.alias or name for name, field in section.model_fields.items()]


def section_at(section: type[Section], location: KeyPath) -> type[Section] | None:
    """Return the class of the mapping that `location` leads to."""
    current: type[Section] | None = section
    named = False
    for part in location:
        if isinstance(part, int):
            continue  # the class of a list's items was found with the list
        if named:
            named = False  # a name of people's own; the class of what it names was found with the mapping
            continue
        fields = {field.alias or name: field for name, field in current.model_fields.items()} if current else {}
        annotation = fields[part].annotation if part in fields else None
        current, named = _section_in(annotation), _is_by_name(annotation)
        if current is None:
            return None
    return None if named else current


def _section_in(annotation: Any) -> type[Section] | None:
    """Return the one class of a mapping in an annotation such as `tuple[StepSection, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part)) is not None), None)


def _is_by_name(annotation: Any) -> bool:
    """Return whether an annotation is a mapping of people's own names."""
    return get_origin(annotation) is Mapping or any(_is_by_name(part) for part in get_args(annotation))
