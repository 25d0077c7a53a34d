"""Classes, fields, methods, enumerations and failure codes against the published datamodel, where it is at hand."""

import ast
from typing import Any

import pytest

from migd_xapi.datamodel.classes import CLASSES
from migd_xapi.datamodel.enumerations import ENUMERATIONS
from migd_xapi.method import Method
from migd_xapi.methods import all_methods
from migd_xapi.roles import ROLES
from xapi_reference import PROJECT, reference

# Methods that XAPI has and its published datamodel does not list; there is one of the latter for each class.
UNLISTED = {"system.listMethods"}
UNLISTED_ENDING = ".get_all_records_where"
# Failures that do not stem from the datamodel.
UNCODED = {"Fault"}
# What xapi's source raises otherwise than published: how many parameters it has.
UNPUBLISHED = {"SESSION_AUTHENTICATION_FAILED": 2, "VM_IS_SNAPSHOT": 2, "VM_IS_TEMPLATE": 2}


@pytest.fixture(scope="module")
def datamodel() -> dict[str, Any]:
    return {class_["name"]: class_ for class_ in reference("xenapi.json")}


def test_every_class_has_every_field_with_its_type(datamodel: dict[str, Any]) -> None:
    for name, class_ in CLASSES.items():
        expected = {field["name"]: field["type"] for field in datamodel[name]["fields"]}
        assert {field.name: field.type.text for field in class_.fields.values()} == expected, name


def test_enumerations_have_the_published_values(datamodel: dict[str, Any]) -> None:
    published = {
        enum["name"]: tuple(value["name"] for value in enum["values"])
        for class_ in datamodel.values()
        for enum in class_["enums"]
    }
    assert {name: published.get(name) for name in ENUMERATIONS} == ENUMERATIONS


def roles_of(method: Method) -> set[str]:
    return set(ROLES) if method.role is None else set(ROLES[ROLES.index(method.role) :])


def test_methods_take_and_give_what_is_published_and_ask_for_the_same_role(datamodel: dict[str, Any]) -> None:
    published = {
        f"{name}.{message['name']}": message for name, class_ in datamodel.items() for message in class_["messages"]
    }
    methods = {
        name: method
        for name, method in all_methods().items()
        if name in published or (name not in UNLISTED and not name.endswith(UNLISTED_ENDING))
    }
    assert methods.keys() - published.keys() == set()
    for name, method in methods.items():
        message = published[name]
        # What does not take a session is listed with its own first parameter in the session's place.
        expected = [(each["type"], each["required"]) for each in message["params"]]
        if method.needs_session:
            assert expected.pop(0)[0] == "session ref", name
        else:
            expected = [("string", True), *expected[1:]]
        assert [(each.type.text, each.is_required) for each in method.parameters] == expected, name
        assert method.returns == message["result"][0], name
        if message["roles"]:
            assert roles_of(method) == set(message["roles"]) & set(ROLES), name


def test_failure_codes_are_published_and_have_their_parameters() -> None:
    codes = reference("xapi-errors.json")
    found = 0
    for path in (PROJECT / "xapi" / "migd_xapi").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Failure"):
                continue
            code = node.args[0]
            if not isinstance(code, ast.Constant) or code.value in UNCODED:
                continue
            found += 1
            where = f"{path.name}:{node.lineno} {code.value}"
            expected = {name: len(parameters) for name, parameters in codes.items()} | UNPUBLISHED
            assert code.value in expected, where
            if not any(isinstance(each, ast.Starred) for each in node.args):
                assert len(node.args) - 1 == expected[code.value], where
    assert found > 20
