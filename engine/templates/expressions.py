"""The one place where Jinja2 is set up: sandboxed, strict, without loaders, loops or calls.

What a template is given are values: a text among them is never itself taken for a template.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType, TracebackType
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.model.runbook import Value
from engine.templates.errors import TemplateError
from engine.templates.filters import LONGEST_TEXT, OWN, STANDARD

LONGEST_TEMPLATE = 16_384
_LARGEST_NUMBER = 10**30
_FILE = "<template>"
_FORBIDDEN: Mapping[type[nodes.Node], str] = MappingProxyType(
    {
        nodes.For: "loops are not available in templates",
        nodes.Macro: "macros are not available in templates",
        nodes.CallBlock: "call blocks are not available in templates",
        nodes.FilterBlock: "filter blocks are not available in templates",
        nodes.Block: "blocks are not available in templates",
        nodes.Include: "templates cannot include others",
        nodes.Import: "templates cannot import others",
        nodes.FromImport: "templates cannot import others",
        nodes.Extends: "templates cannot extend others",
        nodes.Assign: "variables cannot be set in templates",
        nodes.AssignBlock: "variables cannot be set in templates",
        nodes.With: "variables cannot be set in templates",
        nodes.Call: "nothing can be called in templates; use a filter",
    }
)
_FAILURES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


class _Environment(ImmutableSandboxedEnvironment):
    """A sandbox in which a mapping has items and no methods, and operators cannot grow beyond bounds."""

    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def __init__(self) -> None:
        super().__init__(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)
        self.globals.clear()
        standard = {name: filter_ for name, filter_ in self.filters.items() if name in STANDARD}
        self.filters.clear()
        self.filters.update({**standard, **OWN})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return an item: `alert.labels.items` is the label of that name."""
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return an item of a mapping or a sequence; nothing has attributes."""
        if isinstance(obj, jinja2.Undefined):
            return obj[argument]  # raises, naming what was undefined first
        try:
            return obj[argument]
        except (LookupError, TypeError):
            return self.undefined(obj=obj, name=argument)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute, unless the result could be large out of proportion."""
        if operator == "%" and isinstance(left, str):
            raise TypeError("text is not formatted with %; use ~ to join texts")
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            return float(left) ** right
        if operator == "*" and isinstance(left, int) and isinstance(right, int) and abs(left) > _LARGEST_NUMBER:
            return float(left) * right
        if operator == "*" and not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise TypeError("only numbers can be multiplied")
        return super().call_binop(context, operator, left, right)


_ENVIRONMENT = _Environment()


def render(text: str, values: Mapping[str, object]) -> Value:
    """Return what `text` says with `values` filled in; a value, when the whole text is one expression.

    `"{{ n }}"` is a number when `n` is one; `"{{ n }} times"` is text. Text without braces is returned as it is.
    Raises TemplateError.
    """
    if "{{" not in text and "{%" not in text and "{#" not in text:
        return text
    template, native = _compiled(text)
    result = _run(template, values)
    if native:
        return _value(result)
    if len(result) > LONGEST_TEXT:
        raise TemplateError(f"the result is longer than {LONGEST_TEXT} characters")
    return str(result)


def render_text(text: str, values: Mapping[str, object]) -> str:
    """Return what `text` says with `values` filled in, as text. Raises TemplateError."""
    result = render(text, values)
    if isinstance(result, str):
        return result
    if result is None or isinstance(result, bool | int | float):
        return str(result).lower() if isinstance(result, bool) else str(result)
    raise TemplateError(f"a {_kind(result)} cannot stand in a text")


def render_tree(value: Value, values: Mapping[str, object]) -> Value:
    """Return `value` with every text in it rendered; the keys of mappings stay as they are. Raises TemplateError."""
    match value:
        case str():
            return render(value, values)
        case Mapping():
            return {key: render_tree(below, values) for key, below in value.items()}
        case tuple():
            return tuple(render_tree(below, values) for below in value)
        case _:
            return value


def names(text: str) -> frozenset[str]:
    """Return the names that `text` needs values for. Raises TemplateError where it cannot be read."""
    if "{{" not in text and "{%" not in text and "{#" not in text:
        return frozenset()
    return frozenset(meta.find_undeclared_variables(_parsed(text)))


def attributes(text: str) -> frozenset[tuple[str, str]]:
    """Return each name of `text` with the part of it that is asked for: `fault.culprit` is ("fault", "culprit")."""
    if "{{" not in text and "{%" not in text and "{#" not in text:
        return frozenset()
    return frozenset(
        (node.node.name, node.attr)
        for node in _parsed(text).find_all(nodes.Getattr)
        if isinstance(node.node, nodes.Name)
    )


def _parsed(text: str) -> nodes.Template:
    if len(text) > LONGEST_TEMPLATE:
        raise TemplateError(f"the template is longer than {LONGEST_TEMPLATE} characters")
    try:
        tree = _ENVIRONMENT.parse(text, filename=_FILE)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(_sentence(error.message or "cannot be read"), error.lineno) from None
    except RecursionError:
        raise TemplateError("the template is nested too deeply") from None
    for kind, sentence in _FORBIDDEN.items():
        found = tree.find(kind)
        if found is not None:
            raise TemplateError(sentence, found.lineno)
    for filter_ in tree.find_all(nodes.Filter):
        if filter_.name not in _ENVIRONMENT.filters:
            raise TemplateError(f"there is no filter {filter_.name!r}; {_filters()}", filter_.lineno)
    return tree


@lru_cache(maxsize=2048)
def _compiled(text: str) -> tuple[jinja2.Template, bool]:
    tree = _parsed(text)
    match tree.body:
        case [nodes.Output(nodes=[expression])] if not isinstance(expression, nodes.TemplateData):
            native = True
            # Jinja2's own native types guess at the meaning of texts; assigning the expression keeps its value.
            assign = nodes.Assign(nodes.Name("result", "store"), expression, lineno=expression.lineno)
            tree = nodes.Template([assign], lineno=1)
            tree.set_environment(_ENVIRONMENT)
        case _:
            native = False
    try:
        code = _ENVIRONMENT.compile(tree, filename=_FILE)
    except jinja2.TemplateSyntaxError as error:
        raise TemplateError(_sentence(error.message or "cannot be read"), error.lineno) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise TemplateError("the template is nested too deeply") from None
    return jinja2.Template.from_code(_ENVIRONMENT, code, {}), native


def _run(template: jinja2.Template, values: Mapping[str, object]) -> Any:
    context = template.new_context({name: plain(value) for name, value in values.items()})
    try:
        output = "".join(template.root_render_func(context))
        result = context.vars.get("result", output)
        if isinstance(result, jinja2.Undefined):
            str(result)  # raises
    except (jinja2.UndefinedError, SecurityError) as error:
        raise TemplateError(_sentence(error.message or str(error)), _line(template, error.__traceback__)) from None
    except _FAILURES as error:
        raise TemplateError(_sentence(str(error)), _line(template, error.__traceback__)) from None
    return result


def _line(template: jinja2.Template, trace: TracebackType | None) -> int:
    line = 1
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _FILE:
            line = template.get_corresponding_lineno(trace.tb_lineno)
        trace = trace.tb_next
    return line


def plain(value: object) -> object:
    """Return `value` as a template sees it: dataclasses are mappings, sequences are lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type | Mapping):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(below) for key, below in value.items()}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence | set | frozenset):
        return [plain(below) for below in (value if isinstance(value, Sequence) else sorted(value, key=str))]
    return value


def _value(result: object) -> Value:
    if result is None or isinstance(result, bool | int | float):
        return result
    if isinstance(result, str):
        if len(result) > LONGEST_TEXT:
            raise TemplateError(f"the result is longer than {LONGEST_TEXT} characters")
        return str(result)
    if isinstance(result, list | tuple):
        return tuple(_value(below) for below in result)
    if isinstance(result, Mapping):
        return {str(key): _value(below) for key, below in result.items()}
    raise TemplateError(f"the result is a {_kind(result)}, which is no value")


def _kind(value: object) -> str:
    if isinstance(value, Mapping):
        return "mapping"
    if isinstance(value, list | tuple):
        return "list"
    return type(value).__name__


def _sentence(message: str) -> str:
    return message.strip().rstrip(".").replace("'dict object' has no attribute", "there is no")


def _filters() -> str:
    return "there are " + ", ".join(sorted(_ENVIRONMENT.filters))
