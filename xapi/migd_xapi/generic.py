"""The methods that every class has by its fields: getters, setters, and the ways to list and to find."""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from migd_xapi import filters, ha, vm_operations
from migd_xapi.database import Row
from migd_xapi.datamodel.classes import CLASSES, Class, Field
from migd_xapi.datamodel.types import Value, type_of
from migd_xapi.failure import Failure
from migd_xapi.method import Handler, Method, Methods, Parameter
from migd_xapi.pool import Call, Pool
from migd_xapi.roles import READ_ONLY

# What else follows from a change of a field.
_CONSEQUENCES: Final[dict[tuple[str, str], Callable[[Pool, Row], None]]] = {
    ("VM", "blocked_operations"): vm_operations.refresh,
    ("VM", "is_a_template"): vm_operations.refresh,
    ("VM", "ha_restart_priority"): ha.follow_priority,
}


def methods() -> Methods:
    """Return the generic methods of all classes."""
    found = Methods()
    for class_ in CLASSES.values():
        for method in _of_class(class_):
            if method.name.partition(".")[2] not in class_.lacks:
                found[method.name] = method
        if "getters" not in class_.lacks:
            for field in class_.fields.values():
                found.update((method.name, method) for method in _of_field(class_, field))
    return found


def _of_class(class_: Class) -> Iterator[Method]:
    name = class_.name
    self = Parameter("self", type_of(f"{name} ref"))
    text = type_of("string")
    records = f"({name} ref -> {name} record) map"
    yield _method(name, "get_all", [], f"{name} ref set", lambda call: tuple(call.pool.db.tables[name]))
    yield _method(name, "get_all_records", [], records, lambda call: dict(call.pool.db.tables[name]))
    yield _method(
        name,
        "get_all_records_where",
        [Parameter("expr", text)],
        records,
        lambda call, expr: _matching(call.pool.db.rows(name), filters.parse(expr)),
    )
    yield _method(name, "get_record", [self], f"{name} record", lambda call, row: row)
    yield _method(
        name,
        "get_by_uuid",
        [Parameter("uuid", text)],
        f"{name} ref",
        lambda call, uuid: call.pool.db.by_uuid(name, uuid).ref,
    )
    if class_.has_names:
        yield _method(
            name,
            "get_by_name_label",
            [Parameter("label", text)],
            f"{name} ref set",
            lambda call, label: tuple(row.ref for row in call.pool.db.rows(name) if row["name_label"] == label),
        )


def _matching(rows: Iterable[Row], is_meant: filters.Filter) -> dict[str, Row]:
    return {row.ref: row for row in rows if is_meant(row)}


def _of_field(class_: Class, field: Field) -> Iterator[Method]:
    owner, name = class_.name, field.name
    self = Parameter("self", type_of(f"{owner} ref"))
    yield _method(owner, f"get_{name}", [self], field.type.text, lambda call, row: row[name])
    if field.writer is None:
        return
    value = Parameter("value", field.type, may_be_null=True)
    yield _method(owner, f"set_{name}", [self, value], "void", _writer(name, lambda row, new: new), field.writer)
    if field.type.is_map:
        key_type, value_type = field.type.key_and_value
        key, value = Parameter("key", key_type), Parameter("value", value_type, may_be_null=True)
        yield _method(owner, f"add_to_{name}", [self, key, value], "void", _writer(name, _with_key(name)), field.writer)
        yield _method(
            owner, f"remove_from_{name}", [self, key], "void", _writer(name, _without_key(name)), field.writer
        )
    elif field.type.is_set:
        member = Parameter("value", field.type.member, may_be_null=True)
        yield _method(owner, f"add_{name}", [self, member], "void", _writer(name, _with_member(name)), field.writer)
        yield _method(
            owner, f"remove_{name}", [self, member], "void", _writer(name, _without_member(name)), field.writer
        )


def _writer(field: str, new_value: Callable[..., Value]) -> Handler:
    def write(call: Call, row: Row, *arguments: Value) -> None:
        value = new_value(row, *arguments)
        if call.pool.kept is not None:
            call.pool.kept.note(row, field, value)
        call.pool.db.update(row, **{field: value})
        consequence = _CONSEQUENCES.get((row.class_.name, field))
        if consequence is not None:
            consequence(call.pool, row)

    return write


def _with_key(field: str) -> Callable[[Row, Value, Value], Value]:
    def changed(row: Row, key: Value, value: Value) -> Value:
        if key in row[field]:
            raise Failure("MAP_DUPLICATE_KEY", row.class_.name, field, row.ref, key)
        return {**row[field], key: value}

    return changed


def _without_key(field: str) -> Callable[[Row, Value], Value]:
    return lambda row, key: {each: value for each, value in row[field].items() if each != key}


def _with_member(field: str) -> Callable[[Row, Value], Value]:
    return lambda row, member: row[field] if member in row[field] else (*row[field], member)


def _without_member(field: str) -> Callable[[Row, Value], Value]:
    return lambda row, member: tuple(each for each in row[field] if each != member)


def _method(
    class_name: str, name: str, parameters: list[Parameter], returns: str, handler: Handler, role: str = READ_ONLY
) -> Method:
    return Method(f"{class_name}.{name}", tuple(parameters), returns, role, is_async=False, handler=handler)
