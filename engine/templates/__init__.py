"""Templates: what people write between braces, and nothing that is not theirs ever rendered."""

from engine.templates.annotations import fill_annotation, foreign, render_annotation
from engine.templates.errors import TemplateError
from engine.templates.expressions import attributes, names, render, render_text, render_tree
from engine.templates.pieces import Rendered, render_pieces

__all__ = [
    "Rendered",
    "TemplateError",
    "attributes",
    "fill_annotation",
    "foreign",
    "names",
    "render",
    "render_annotation",
    "render_pieces",
    "render_text",
    "render_tree",
]
