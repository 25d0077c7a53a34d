"""Methods of class task."""

from typing import Final

from migd_xapi.database import Row
from migd_xapi.method import Methods
from migd_xapi.pool import Call
from migd_xapi.tasks import LAST_STATES

METHODS: Final = Methods()


@METHODS.add("task.create", "string label", "string description", returns="task ref", is_async=False)
def create(call: Call, label: str, description: str) -> str:
    """Return a task that its maker drives, by task.set_progress and the like."""
    return call.pool.tasks.create(label, description, call.host, call.session).ref


@METHODS.add("task.destroy", "task ref self", is_async=False)
def destroy(call: Call, task: Row) -> None:
    """Delete a task that is over; of one that is not, note that somebody wants it gone."""
    assert call.session is not None
    call.pool.tasks.require_power_over(task, call.session)
    if task["status"] in LAST_STATES:
        call.pool.tasks.delete(task)
    else:
        operations = {**task["current_operations"], call.task_ref: "destroy"}
        call.pool.db.update(task, current_operations=operations)


@METHODS.add("task.cancel", "task ref task")
def cancel(call: Call, task: Row) -> None:
    """Ask a task to end; too late is no error."""
    assert call.session is not None
    call.pool.tasks.require_power_over(task, call.session)
    run = call.pool.tasks.running(task.ref)
    if run is not None:
        run.cancel(call.task_ref)
    elif task["status"] not in LAST_STATES:
        operations = {**task["current_operations"], call.task_ref: "cancel"}
        call.pool.db.update(task, current_operations=operations)


@METHODS.add("task.set_status", "task ref self", "enum task_status_type value", is_async=False)
def set_status(call: Call, task: Row, value: str) -> None:
    """Set the state of a task that its maker drives; a last state is final."""
    if task["status"] in LAST_STATES:
        return
    if value in LAST_STATES:
        call.pool.db.update(task, finished=call.pool.clock.stamp(), allowed_operations=(), status=value)
    else:
        call.pool.db.update(task, status=value)


@METHODS.add("task.set_error_info", "task ref self", "string set value", is_async=False)
def set_error_info(call: Call, task: Row, value: tuple[str, ...]) -> None:
    """Set what went wrong with a task that its maker drives."""
    call.pool.db.update(task, error_info=value)
