"""The pool's objects: rows of fields, each change with a generation, references kept on both sides.

Not a log: a row knows when it was made and when it last changed, so that a client that was away learns what is
different now and not what happened in between. All of it belongs to one event loop; nothing here waits.
"""

import asyncio
import uuid
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from migd_xapi.datamodel.classes import CLASSES, VIEWS, Class
from migd_xapi.datamodel.types import NULL, Value
from migd_xapi.failure import Failure

# How many deletions are remembered for clients that were away; beyond it they learn of one by the reference counts.
TOMBSTONES: Final = 4096


class Row:
    """One object. Read fields with `row["name"]`; only the database writes them."""

    __slots__ = ("changed", "class_", "created", "ref", "renderings", "values")

    def __init__(self, class_: Class, ref: str, values: dict[str, Value], generation: int) -> None:
        self.class_ = class_
        self.ref = ref
        self.values = values
        self.created = self.changed = generation
        self.renderings: dict[str, Value] = {}  # what writers made of this state of the row; empty after a change

    def __getitem__(self, field: str) -> Value:
        return self.values[field]

    def __repr__(self) -> str:
        return f"{self.class_.name} {self.ref}"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """An object that is gone."""

    class_name: str
    ref: str
    created: int
    deleted: int


class Database:
    """All rows of a pool."""

    def __init__(self) -> None:
        self.generation = 0
        self.tables: dict[str, dict[str, Row]] = {name: {} for name in CLASSES}
        self._by_uuid: dict[tuple[str, str], Row] = {}
        self._by_change: OrderedDict[str, Row] = OrderedDict()
        self._tombstones: deque[Tombstone] = deque(maxlen=TOMBSTONES)
        self._pulse = asyncio.Event()
        self._forgotten = 0  # the generation up to which deletions are not known any more

    def create(self, class_name: str, /, **values: Value) -> Row:
        """Return a new object; fields that are not named have their defaults, a missing uuid is made up."""
        class_ = CLASSES[class_name]
        unknown = values.keys() - class_.fields.keys()
        if unknown:
            raise KeyError(f"{class_name} has no field {', '.join(sorted(unknown))}")
        values.setdefault("uuid", str(uuid.uuid4()))
        self.generation += 1
        row = Row(class_, f"OpaqueRef:{uuid.uuid4()}", dict(class_.defaults), self.generation)
        self.tables[class_name][row.ref] = row
        self._by_uuid[class_name, values["uuid"]] = row
        self._note(row)
        self.update(row, **values)
        return row

    def update(self, row: Row, **values: Value) -> None:
        """Set several fields in one step; nothing happens where they are so already."""
        different = {field: value for field, value in values.items() if row.values[field] != value}
        if not different:
            return
        self.generation += 1
        for field, value in different.items():
            before = row.values[field]
            row.values[field] = value
            view = VIEWS.get((row.class_.name, field))
            if view is not None:
                self._move(row, view, _refs(before), _refs(value))
        self._note(row)

    def touch(self, row: Row) -> None:
        """Give the row a new generation although nothing in it is different."""
        self.generation += 1
        self._note(row)

    def delete(self, row: Row) -> None:
        """Remove an object; those that refer to it then refer to nothing that exists, as in XAPI."""
        self.generation += 1
        name = row.class_.name
        for field in row.class_.fields:
            view = VIEWS.get((name, field))
            if view is not None:
                self._move(row, view, _refs(row.values[field]), ())
        del self.tables[name][row.ref]
        self._by_uuid.pop((name, row["uuid"]), None)
        self._by_change.pop(row.ref)
        if len(self._tombstones) == TOMBSTONES:
            self._forgotten = self._tombstones[0].deleted
        self._tombstones.append(Tombstone(name, row.ref, row.created, self.generation))
        self._wake()

    def lose(self, *class_names: str) -> None:
        """Lose all objects of some classes, and the memory of what was deleted before: no event tells of either."""
        for name in class_names:
            for row in list(self.tables[name].values()):
                self.delete(row)
        self._tombstones.clear()

    def get(self, class_name: str, ref: str) -> Row:
        """Return the object. Raises Failure HANDLE_INVALID."""
        row = self.tables[class_name].get(ref)
        if row is None:
            raise Failure("HANDLE_INVALID", class_name, ref)
        return row

    def find(self, class_name: str, ref: str) -> Row | None:
        """Return the object, None where the reference is null or leads nowhere."""
        return self.tables[class_name].get(ref)

    def by_uuid(self, class_name: str, uuid_: str) -> Row:
        """Return the object. Raises Failure UUID_INVALID."""
        row = self._by_uuid.get((class_name, uuid_))
        if row is None:
            raise Failure("UUID_INVALID", class_name, uuid_)
        return row

    def find_by_uuid(self, class_name: str, uuid_: str) -> Row | None:
        """Return the object, None where there is none."""
        return self._by_uuid.get((class_name, uuid_))

    def rows(self, class_name: str) -> Iterable[Row]:
        """Return all objects of a class, oldest first."""
        return self.tables[class_name].values()

    def changed_since(self, generation: int) -> Iterator[Row]:
        """Yield what was made or changed after `generation`, newest change first."""
        for row in reversed(self._by_change.values()):
            if row.changed <= generation:
                return
            yield row

    def deleted_since(self, generation: int) -> Iterator[Tombstone]:
        """Yield what was there at `generation` and is gone now, newest first."""
        for tombstone in reversed(self._tombstones):
            if tombstone.deleted <= generation:
                return
            if tombstone.created <= generation:
                yield tombstone

    def remembers(self, generation: int) -> bool:
        """Return whether all that was deleted after `generation` is known."""
        return generation >= self._forgotten

    async def changed(self) -> None:
        """Return when anything has changed."""
        await self._pulse.wait()

    def _move(self, row: Row, view: tuple[str, str], before: tuple[str, ...], after: tuple[str, ...]) -> None:
        class_name, field = view
        table = self.tables[class_name]
        for ref in before:
            if ref not in after and (other := table.get(ref)) is not None:
                self._show(other, field, tuple(each for each in _refs(other.values[field]) if each != row.ref))
        for ref in after:
            if ref not in before and (other := table.get(ref)) is not None:
                self._show(other, field, (*_refs(other.values[field]), row.ref))

    def _show(self, other: Row, field: str, refs: tuple[str, ...]) -> None:
        if other.class_.fields[field].type.is_set:
            other.values[field] = refs
        else:
            other.values[field] = refs[-1] if refs else NULL
        self._note(other)

    def _note(self, row: Row) -> None:
        row.changed = self.generation
        row.renderings = {}
        self._by_change[row.ref] = row
        self._by_change.move_to_end(row.ref)
        self._wake()

    def _wake(self) -> None:
        self._pulse.set()
        self._pulse = asyncio.Event()


def _refs(value: Value) -> tuple[str, ...]:
    if isinstance(value, tuple):
        return value
    return () if value == NULL else (value,)
