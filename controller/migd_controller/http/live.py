"""What the page sees, as one JSON document, and what changed in it, as JSON Merge Patches (RFC 7396).

Hosts and guests are keyed by uuid, jobs by name, migrations by id, so that a patch names only what changed. In a merge
patch null deletes; so a field without a value is absent from the document, not null. Numbers are rounded to what an eye
can tell apart, lest every period change every number.

Of hosts and guests, which there are ten thousands of, the document and its patches have the JSON (`msgspec.Raw`): a
fifth of what dictionaries take.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import floor, log10
from typing import Any, Final

import msgspec

from migd_core import api

Document = dict[str, Any]

_DIGITS: Final = 3
_AGE_STEP_S: Final = 10.0
# Told by every answer of the API, and different in each.
_NEVER_STILL: Final = ("uptime_s", "samples_received")
# They have a place of their own in the document.
_TOLD_ELSEWHERE: Final = ("migrations", "last_decision")


def document(
    status: api.StatusView,
    hosts: Iterable[api.HostView],
    guests: Iterable[api.GuestView],
    jobs: Sequence[api.JobView],
    migrations: Sequence[api.MigrationView],
) -> Document:
    """Return the whole document; `plan` in it is the last decision."""
    glance = _shown(status)
    for name in (*_NEVER_STILL, *_TOLD_ELSEWHERE):
        glance.pop(name, None)
    plan = _shown(status.last_decision) if status.last_decision is not None else {}
    return {
        "status": glance,
        "hosts": {each.uuid: _json(_shown(each)) for each in hosts},
        "guests": {each.uuid: _json(_shown(each)) for each in guests},
        "jobs": {each.name: _shown(each) for each in jobs},
        "migrations": {each.cause: _shown(each) for each in migrations},
        "plan": plan,
    }


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> Document:
    """Return what to merge into `before` to get `after`; empty where they are equal."""
    patch: Document = {name: None for name in before if name not in after}
    for name, value in after.items():
        old = before.get(name)
        if old == value and name in before:
            continue
        if isinstance(old, msgspec.Raw) and isinstance(value, msgspec.Raw):
            patch[name] = _json(merge_patch(msgspec.json.decode(old), msgspec.json.decode(value)))
        elif isinstance(old, dict) and isinstance(value, dict):
            patch[name] = merge_patch(old, value)
        else:
            patch[name] = value
    return patch


def _shown(view: msgspec.Struct) -> Document:
    shown: Document = _plain(msgspec.to_builtins(view))
    return shown


def _json(fields: Document) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(fields))


def _plain(value: Any, name: str = "") -> Any:
    """Drop what has no value; round what is measured, but no times of day."""
    match value:
        case dict():
            return {key: _plain(each, key) for key, each in value.items() if each is not None}
        case list():
            return [_plain(each, name) for each in value]
        case float() if name == "at" or name.endswith("_at"):
            return value
        case float() if name.endswith("_age_s") or name == "rest_s":
            return floor(value / _AGE_STEP_S) * _AGE_STEP_S
        case float() if value:
            return round(value, _DIGITS - 1 - floor(log10(abs(value))))
        case _:
            return value
