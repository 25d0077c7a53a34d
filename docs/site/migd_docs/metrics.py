"""The reference of metrics, read from the calls in the source that make them; nothing has to run for it."""

import ast
import inspect
from collections.abc import Iterator
from typing import Final

import migd_controller.metrics
from migd_docs.tables import code, table

# What makes a metric -> its type, and what Prometheus appends to its name.
_MAKERS: Final = {
    "Counter": ("counter", "_total"),
    "CounterMetricFamily": ("counter", "_total"),
    "_total": ("counter", "_total"),
    "GaugeMetricFamily": ("gauge", ""),
    "_gauge": ("gauge", ""),
    "Histogram": ("histogram", ""),
    "InfoMetricFamily": ("info", "_info"),
}


def metrics() -> str:
    """Return the metrics of the controller: names, types, labels, and what they tell."""
    rows = [
        (code(name), kind, ", ".join(code(label) for label in labels), text) for name, kind, labels, text in families()
    ]
    return table(("name", "type", "labels", "what it tells"), rows)


def families() -> list[tuple[str, str, list[str], str]]:
    """Return name as it is scraped, type, labels and text of each metric, by name."""
    return sorted(_families(ast.parse(inspect.getsource(migd_controller.metrics))))


def _families(tree: ast.AST) -> Iterator[tuple[str, str, list[str], str]]:
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _MAKERS):
            continue
        match node.args:
            case [ast.Constant(value=str(name)), ast.Constant(value=str(text)), *rest]:
                kind, suffix = _MAKERS[node.func.id]
                yield name + suffix, kind, _labels(node, rest, kind), text
            case [ast.Name(), *_]:
                continue  # inside `_gauge` and `_total` themselves
            case _:
                raise ValueError(f"metrics.py:{node.lineno}: expected a metric's name and help as plain strings")


def _labels(node: ast.Call, rest: list[ast.expr], kind: str) -> list[str]:
    named = [word.value for word in node.keywords if word.arg == "labels"]
    lists = [each for each in (*named, *rest) if isinstance(each, ast.List)]
    if kind == "info":
        return [str(ast.literal_eval(key)) for each in rest if isinstance(each, ast.Dict) for key in each.keys if key]
    return [str(ast.literal_eval(label)) for each in lists for label in each.elts]
