"""From a call as it came off the wire to the value or the failure that answers it.

What is wrong with the call itself (unknown, arguments, session) is answered at once; all else, permissions included, is
found while it runs, and of an asynchronous call ends up in its task.
"""

import asyncio
from dataclasses import replace

import structlog

from migd_xapi.database import Row
from migd_xapi.datamodel.types import Value
from migd_xapi.failure import Failure
from migd_xapi.method import ASYNC, Method, Methods
from migd_xapi.pool import Call, Pool
from migd_xapi.tasks import TaskRun

_log = structlog.get_logger()


class Dispatcher:
    """Runs the calls of all clients of one pool."""

    def __init__(self, pool: Pool, methods: Methods) -> None:
        self._pool = pool
        self._methods = methods
        self._under_way: set[asyncio.Task[Value]] = set()

    async def call(self, name: str, sent: tuple[object, ...], host: Row) -> Value:
        """Return the answer of `host` to a call. Raises Failure."""
        plain_name = name.removeprefix(ASYNC)
        is_async = plain_name != name
        method = self._methods.get(plain_name)
        if method is None:
            raise Failure("MESSAGE_METHOD_UNKNOWN", plain_name)
        if is_async and not method.is_async:
            raise Failure("Fault", f"No async mode for this operation (rpc: {name})")
        method.check_arity(name, len(sent))
        if not self._pool.is_coordinator(host):
            raise Failure("HOST_IS_SLAVE", self._pool.coordinator["address"])
        call = Call(self._pool, name, host)
        if method.needs_session:
            call = replace(call, session=self._pool.sessions.get(sent[0]))
            sent = sent[1:]
        values = method.arguments(sent)
        if is_async:
            run = self._begin(call)
            self._start(method, replace(call, run=run), values)
            return run.ref
        if not (method.may_wait and method.is_async):
            return await self._run(method, call, values)
        run = self._begin(call)
        task = self._start(method, replace(call, run=run), values)
        try:
            return await asyncio.shield(task)  # a client that goes away does not undo what it asked for
        finally:
            task.add_done_callback(lambda _: self._pool.tasks.delete(run.row))

    async def close(self) -> None:
        """Give up all calls."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _begin(self, call: Call) -> TaskRun:
        return self._pool.tasks.begin(call.name, call.host, call.session)

    def _start(self, method: Method, call: Call, values: list[Value]) -> asyncio.Task[Value]:
        task = asyncio.create_task(self._run_as_task(method, call, values), name=call.name)
        self._under_way.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Value]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # it stands in the task's record; nobody else may be waiting for it

    async def _run_as_task(self, method: Method, call: Call, values: list[Value]) -> Value:
        assert call.run is not None
        try:
            value = await self._run(method, call, values)
        except Failure as failure:
            call.run.fail(failure)
            raise
        else:
            call.run.succeed(value, method.returns)
            return value
        finally:
            self._pool.tasks.end(call.run)

    async def _run(self, method: Method, call: Call, values: list[Value]) -> Value:
        try:
            if method.role is not None and call.session is not None:
                call.session.require(method.role, method.name)
            rows = method.resolved(self._pool.db, values)
            value = method.handler(call, *rows)
            if method.may_wait:
                value = await value
        except Failure:
            raise
        except Exception as error:
            _log.exception("a method failed unexpectedly", method=method.name)
            raise Failure("INTERNAL_ERROR", f"{type(error).__name__}({error})") from error
        return "" if value is None else value
