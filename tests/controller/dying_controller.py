"""The controller as it is, but killed (SIGKILL) at its first command of a kind: `python -m dying_controller KIND WHEN …`.

WHEN is `before`: the command is on record, and nobody has begun to carry it out; or `after`: the pool has done what it
asks for, and its answer is on the way to whoever would put it on record.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

from migd_controller.__main__ import main
from migd_controller.executor import Executor
from migd_controller.pool_calls import PoolCalls
from migd_controller.pool_records import MIGRATE
from migd_controller.probe_executor import ProbeExecutor

# The call that carries a command out.
CALLS: Final = {
    "StartMigration": MIGRATE,
    "CancelMigration": "task.cancel",
    "BeginProbe": "VM.add_to_blocked_operations",
    "EndProbe": "VM.remove_from_blocked_operations",
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_before(kind: str, submit: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    def submit_or_die(executor: Any, command: Any) -> None:
        if type(command).__name__ == kind:
            die()
        submit(executor, command)

    return submit_or_die


def dying_after(method: str, call: Callable[..., Any]) -> Callable[..., Any]:
    def call_and_die(calls: Any, asked: str, *args: Any) -> Any:
        answer = call(calls, asked, *args)
        if asked == method:
            die()
        return answer

    return call_and_die


if __name__ == "__main__":
    kind, when = sys.argv.pop(1), sys.argv.pop(1)
    for executor in (Executor, ProbeExecutor):
        if when == "before":
            executor.submit = dying_before(kind, executor.submit)  # type: ignore[method-assign]
    if when == "after":
        PoolCalls.call = dying_after(CALLS[kind], PoolCalls.call)  # type: ignore[method-assign]
        PoolCalls.unless_gone = dying_after(CALLS[kind], PoolCalls.unless_gone)  # type: ignore[method-assign]
    main()
