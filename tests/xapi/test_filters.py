"""Expressions that choose records."""

import pytest

from migd_xapi import filters
from migd_xapi.database import Database, Row
from migd_xapi.failure import Failure


@pytest.fixture
def vm() -> Row:
    return Database().create(
        "VM",
        name_label="a",
        power_state="Running",
        is_control_domain=False,
        memory_static_max=1024,
        tags=("x", "it's"),
        other_config={"k": "v"},
    )


@pytest.mark.parametrize(
    ("expression", "is_meant"),
    [
        ("true", True),
        ("not true", False),
        ('field "power_state" = "Running"', True),
        ('"Running" = field "power_state"', True),
        ('field "power_state"="running"', False),
        ('field "name__label" = "a" and field "is_control_domain" = "false"', True),
        ('field "memory__static_max" = "1024"', True),
        ("field \"tags\" = \"('x' 'it\\'s')\"", True),
        ("field \"other_config\" = \"(('k' 'v'))\"", True),
        ('field "name_label" = field "power_state"', False),
        # `and` and `or` bind alike, from the left; `not` takes all that follows.
        ("true or true and false", False),
        ("true or (true and false)", True),
        ("not false and false", True),
        ("(not false) and false", False),
        ("true and not false or true", False),
    ],
)
def test_an_expression_chooses_what_xapi_would(vm: Row, expression: str, is_meant: bool) -> None:
    assert filters.parse(expression)(vm) is is_meant


def test_an_object_is_found_by_its_reference(vm: Row) -> None:
    assert filters.parse(f'field "_ref" = "{vm.ref}"')(vm)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "maybe",
        'field "power_state"',
        "field power_state = 'x'",
        "(true",
        "true)",
        "true true",
        '"a" = ',
        "true and",
        '"a',
    ],
)
def test_what_is_no_expression_is_refused_in_whole(expression: str) -> None:
    with pytest.raises(Failure) as caught:
        filters.parse(expression)
    assert caught.value.description == ("INTERNAL_ERROR", f"Db_filter.Expression_error({expression})")


def test_a_field_that_there_is_not_is_named(vm: Row) -> None:
    with pytest.raises(Failure, match="missing column; VM; colour"):
        filters.parse('field "colour" = "red"')(vm)
