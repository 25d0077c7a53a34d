"""Expressions that choose records: `field "power_state" = "Running" and not field "is_control_domain" = "true"`.

The grammar is XAPI's (db_filter_parse.mly): `and` and `or` bind alike, from the left; `not` takes all that follows it.
Values are compared as the texts that XAPI's database holds. Where its fields stand in a group, XAPI separates the
group's name by two underscores (`name__label`); here one will do as well.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from migd_xapi.database import Row
from migd_xapi.datamodel.types import Value
from migd_xapi.failure import Failure

Filter = Callable[[Row], bool]
_Text = Callable[[Row], str]
# Each operator takes a few frames of Python's stack, to read it or to ask it, of which there are a thousand.
MOST_OPERATORS: Final = 250
_TOKENS: Final = re.compile(r"(?P<space>[ \t\n]+)|(?P<word>true|false|field|and|or|not|[=()])|\"(?P<text>[^\"]*)\"")


def parse(expression: str) -> Filter:
    """Return what tells whether a row is meant. Raises INTERNAL_ERROR, as XAPI does, where it is no expression."""
    parser = _Parser(expression)
    found = parser.expression()
    parser.expect("")
    return found


class _Parser:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._operators = 0
        self._tokens = self._split()
        self._next = next(self._tokens)

    def expression(self) -> Filter:
        left = self._operand()
        while (operator := self._next) in (("word", "and"), ("word", "or")):
            self._take()
            left = _both(left, self._operand()) if operator[1] == "and" else _either(left, self._operand())
        return left

    def expect(self, word: str) -> None:
        if self._take() != ("word", word):
            raise self._failure()

    def _operand(self) -> Filter:
        match self._next:
            case ("word", "not"):
                self._take()
                return _negated(self.expression())
            case ("word", "("):
                self._take()
                inner = self.expression()
                self.expect(")")
                return inner
            case ("word", "true" | "false" as word):
                self._take()
                return lambda row: word == "true"
        left = self._value()
        self.expect("=")
        return _equal(left, self._value())

    def _value(self) -> _Text:
        kind, text = self._take()
        if kind == "text":
            return lambda row: text
        if text != "field":
            raise self._failure()
        kind, name = self._take()
        if kind != "text":
            raise self._failure()
        return lambda row: _field_text(row, name)

    def _take(self) -> tuple[str, str]:
        taken = self._next
        if taken[0] == "word" and taken[1] in ("and", "or", "not", "("):
            self._operators += 1
            if self._operators > MOST_OPERATORS:
                raise self._failure()
        self._next = next(self._tokens, ("word", ""))
        return taken

    def _split(self) -> Iterator[tuple[str, str]]:
        at = 0
        while at < len(self._expression):
            match = _TOKENS.match(self._expression, at)
            if match is None:
                raise self._failure()
            at = match.end()
            if match.lastgroup in ("word", "text"):
                yield match.lastgroup, match[match.lastgroup]
        yield ("word", "")

    def _failure(self) -> Failure:
        return Failure("INTERNAL_ERROR", f"Db_filter.Expression_error({self._expression[:1000]})")


def _both(left: Filter, right: Filter) -> Filter:
    return lambda row: left(row) and right(row)


def _either(left: Filter, right: Filter) -> Filter:
    return lambda row: left(row) or right(row)


def _negated(inner: Filter) -> Filter:
    return lambda row: not inner(row)


def _equal(left: _Text, right: _Text) -> Filter:
    return lambda row: left(row) == right(row)


def _field_text(row: Row, name: str) -> str:
    if name == "_ref":
        return row.ref
    value = row.values.get(name.replace("__", "_"))
    if value is None:
        raise Failure("INTERNAL_ERROR", f"Db_exn.DBCache_NotFound(missing column; {row.class_.name}; {name})")
    return _text(value)


def _text(value: Value) -> str:
    """Return the value as XAPI's database has it; sets and maps are S-expressions."""
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return f"({' '.join(map(_quoted, value))})"
        case dict():
            return f"({' '.join(f'({_quoted(key)} {_quoted(each)})' for key, each in value.items())})"
    return str(value)


def _quoted(value: Value) -> str:
    text = _text(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
