"""The reference of the API, made of its OpenAPI document."""

from collections.abc import Iterator
from typing import Any

from migd_controller.http.openapi import openapi
from migd_docs.tables import code, table


def api() -> str:
    """Return each operation of the API with its role, and each shape that it takes or answers."""
    document = openapi()
    parts = [document["info"]["description"], "\n## Operations\n"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts += _operation(f"{method.upper()} {path}", operation)
    parts.append("## Shapes\n")
    for name, schema in document["components"]["schemas"].items():
        parts += _schema(name, schema)
    return "\n".join(parts)


def _operation(name: str, operation: dict[str, Any]) -> Iterator[str]:
    role = operation.get("x-role")
    yield f"### {name}\n\n{operation['summary']} Role: {code(role) if role else 'nobody needs one'}.\n"
    rows = [
        (code(each["name"]), each["in"], _type(each["schema"]), "yes" if each.get("required") else "")
        for each in operation.get("parameters", ())
    ]
    if rows:
        yield table(("parameter", "in", "type", "must be given"), rows)
    if (body := operation.get("requestBody")) is not None:
        yield f"Takes {_content(body)}.\n"
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            yield f"Answers {status}: {_content(response) or response.get('description', '')}\n"


def _content(holder: dict[str, Any]) -> str:
    return ", ".join(
        f"{_type(each['schema'])} as {code(kind)}" if "schema" in each else code(kind)
        for kind, each in holder.get("content", {}).items()
    )


def _schema(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}\n\n{schema.get('description', '')}\n"
    if "enum" in schema:
        yield "One of " + ", ".join(code(str(each)) for each in schema["enum"]) + ".\n"
    required = schema.get("required", ())
    rows = [
        (code(key), _type(each), "yes" if key in required else "", each.get("description", ""))
        for key, each in schema.get("properties", {}).items()
    ]
    if rows:
        yield table(("field", "type", "always there", ""), rows)


def _type(schema: dict[str, Any]) -> str:
    match schema:
        case {"$ref": str(reference)}:
            name = reference.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": list(alternatives)} | {"oneOf": list(alternatives)}:
            return " or ".join(_type(each) for each in alternatives)
        case {"enum": list(values)}:
            return " or ".join(code(str(each)) for each in values)
        case {"const": value}:
            return code(str(value))
        case {"type": "array", **rest}:
            items = rest.get("items")
            return f"list of {_type(items)}" if isinstance(items, dict) else "list"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"object of {_type(values)}"
        case {"type": list(kinds)}:
            return " or ".join(kinds)
        case {"type": str(kind)}:
            return kind
        case _:
            return "anything"
