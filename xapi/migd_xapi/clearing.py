"""What xapi clears up every half minute: old tasks, idle sessions (db_gc_util.ml)."""

import asyncio
from datetime import timedelta
from typing import Final

from migd_xapi.database import Row
from migd_xapi.datamodel.types import Stamp
from migd_xapi.pool import Pool
from migd_xapi.tasks import LAST_STATES

PERIOD_S: Final = 30.0
COMPLETED_TASK_S: Final = 65 * 60.0
PENDING_TASK_S: Final = 24 * 3600.0
MOST_TASKS: Final = 200


async def run(pool: Pool) -> None:
    """Clear up again and again, until cancelled."""
    while True:
        await asyncio.sleep(PERIOD_S)
        clear_up(pool)


def clear_up(pool: Pool) -> None:
    """Clear up once."""
    pool.sessions.clear_up()
    _clear_tasks(pool)


def _clear_tasks(pool: Pool) -> None:
    """Delete tasks that are long over, and of the others the oldest that are over when there are too many."""
    now = pool.clock.now()
    completed_limit = Stamp.of(now - timedelta(seconds=COMPLETED_TASK_S))
    pending_limit = Stamp.of(now - timedelta(seconds=PENDING_TASK_S))
    completed: list[Row] = []
    pending = 0
    for task in list(pool.db.rows("task")):
        if task["status"] not in LAST_STATES:
            if task["created"] < pending_limit:
                pool.tasks.delete(task)
            else:
                pending += 1
        elif "destroy" in task["current_operations"].values() or task["finished"] < completed_limit:
            pool.tasks.delete(task)
        else:
            completed.append(task)
    if pending + len(completed) > MOST_TASKS:
        kept = max(0, MOST_TASKS - pending)
        for task in sorted(completed, key=lambda each: str(each["finished"]), reverse=True)[kept:]:
            pool.tasks.delete(task)
