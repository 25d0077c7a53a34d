"""What somebody does to the pool behind migd's back: calls of the API like any client's, in a session of their own."""

from typing import Final, assert_never

from migd_xapi.failure import Failure
from migd_xapi.faults import (
    ByHand,
    FaultRefused,
    HumanDisables,
    HumanEnables,
    HumanMigrates,
    HumanReboots,
    HumanRenames,
    HumanShutsDown,
    HumanStarts,
    HumanTags,
)
from migd_xapi.names import Names
from migd_xapi.server import Server
from migd_xapi.sessions import User

# Nobody can log in as this user: no pool file lists it.
HUMAN: Final = User(name="human", password="")
ORIGINATOR: Final = "XenCenter"


async def do(server: Server, names: Names, fault: ByHand) -> None:
    """Do what the fault says; what takes long goes on as a task. Raises FaultRefused."""
    method, *arguments = _call(fault, names)
    host, sessions = server.pool.coordinator, server.pool.sessions
    session = sessions.begin(HUMAN, ORIGINATOR, host)
    try:
        await server.dispatcher.call(str(method), (session.ref, *arguments), host)
    except Failure as failure:
        raise FaultRefused(f"the pool refuses {method}: {' '.join(failure.description)}") from failure
    finally:
        sessions.log_out(session)


def _call(fault: ByHand, names: Names) -> tuple[object, ...]:
    """Return the method and its arguments."""
    match fault:
        case HumanMigrates(guest=guest, host=host):
            return "Async.VM.pool_migrate", names.vm(guest).ref, names.host(host).ref, {"live": "true"}
        case HumanShutsDown(guest=guest, is_clean=is_clean):
            return "Async.VM.clean_shutdown" if is_clean else "Async.VM.hard_shutdown", names.vm(guest).ref
        case HumanReboots(guest=guest, is_clean=is_clean):
            return "Async.VM.clean_reboot" if is_clean else "Async.VM.hard_reboot", names.vm(guest).ref
        case HumanStarts(guest=guest, host=host):
            return "Async.VM.start_on", names.vm(guest).ref, names.host(host).ref, False, False
        case HumanRenames(guest=guest, name=name):
            return "VM.set_name_label", names.vm(guest).ref, name
        case HumanTags(guest=guest, tag=tag):
            return "VM.add_tags", names.vm(guest).ref, tag
        case HumanDisables(host=host):
            return "host.disable", names.host(host).ref
        case HumanEnables(host=host):
            return "host.enable", names.host(host).ref
        case _:
            assert_never(fault)
