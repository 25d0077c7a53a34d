"""A client of a served pool: it watches events, and has at hand what tests of operations need."""

from collections.abc import Callable
from typing import Any

import pytest
import XenAPI

NULL = "OpaqueRef:NULL"


def failure(function: Callable[..., Any], *arguments: Any) -> list[str]:
    """Return how a call fails."""
    with pytest.raises(XenAPI.Failure) as caught:
        function(*arguments)
    return list(caught.value.details)


class Watch:
    """Follows the events of some classes, and keeps every state that it saw."""

    def __init__(self, session: XenAPI.Session, classes: list[str]) -> None:
        self._session, self._classes = session, classes
        self._token = ""
        self.now: dict[str, dict[str, Any]] = {}
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self._step(0.0)
        self.seen.clear()

    def _step(self, timeout_s: float = 5.0) -> None:
        batch = getattr(self._session.xenapi.event, "from")(self._classes, self._token, timeout_s)
        self._token = batch["token"]
        for event in batch["events"]:
            if event["operation"] != "del":
                self.now[event["ref"]] = event["snapshot"]
                self.seen.append((event["ref"], event["snapshot"]))

    def until(self, condition: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
        for _ in range(200):
            if condition(self.now):
                return
            self._step()
        raise AssertionError("it did not come to that")


class Pool:
    """What the tests below need at hand."""

    def __init__(self, served: Any, session: XenAPI.Session) -> None:
        self.served, self.session, self.api = served, session, session.xenapi
        records = self.api.VM.get_all_records()
        self.vm: str = next(ref for ref, record in records.items() if not record["is_control_domain"])
        self.here, self.there, *others = self.api.host.get_all()
        self.elsewhere = others[0] if others else ""

    def migrate(self, target: str | None = None, vm: str | None = None, **options: str) -> str:
        return str(self.api.Async.VM.pool_migrate(vm or self.vm, target or self.there, options))

    def finished(self, task: str) -> dict[str, Any]:
        watch = Watch(self.session, [f"task/{task}"])
        watch.until(lambda now: now[task]["status"] != "pending")
        return watch.now[task]

    def failure(self, task: str) -> list[str]:
        record = self.finished(task)
        assert record["status"] == "failure"
        return list(record["error_info"])

    def hold(self) -> None:
        self.served.backend.ends_at_once = False

    def migrations(self, count: int) -> list[Any]:
        """Wait until so many migrations have begun."""
        backend = self.served.backend
        with backend.begun:
            assert backend.begun.wait_for(lambda: len(backend.migrations) >= count, timeout=10)
        return list(backend.migrations)

    def end(self, migration: Any) -> None:
        self.served.do(lambda: self.served.backend.end(migration))

    def record(self, vm: str | None = None) -> dict[str, Any]:
        return dict(self.api.VM.get_record(vm or self.vm))

    def change(self, class_name: str, ref: str, **values: Any) -> None:
        """Change what no client may change."""
        db = self.served.server.pool.db
        self.served.do(lambda: db.update(db.get(class_name, ref), **values))

    def messages(self) -> list[str]:
        return [message["name"] for message in self.api.message.get_all_records().values()]
