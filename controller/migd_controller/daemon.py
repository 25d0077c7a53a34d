"""The controller as a process: sockets, threads and signals around `Control`. Crash-only.

An expected failure is an event. An unexpected one ends the process, systemd restarts it, and the journal says where to
go on. A signal ends it the same way, only politely.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import structlog
from aiohttp import web

from migd_controller.api import Api
from migd_controller.commands import PoolCommand, ProbeCommand
from migd_controller.config import ControllerConfig
from migd_controller.control import Clock, Control, Watcher
from migd_controller.core import Core, first_memory
from migd_controller.doctor.examination import Doctor
from migd_controller.doctor.questions import PoolQuestions
from migd_controller.events import SampleArrived, ShadowTurn, Tick
from migd_controller.executor import Executor
from migd_controller.http.listener import BACKLOG, MAX_CONNECTIONS, runner_of
from migd_controller.http.only_leader import only_leader
from migd_controller.http.places import Places
from migd_controller.http.service import Service
from migd_controller.intake import Intake
from migd_controller.journal import Journal
from migd_controller.journal_database import place_of
from migd_controller.journal_retention import Limits
from migd_controller.lease_outbox import LeaseOutbox
from migd_controller.metrics import Metrics
from migd_controller.pool_calls import PoolCalls
from migd_controller.pool_watch import PoolWatch
from migd_controller.probe_executor import ProbeExecutor
from migd_controller.rrd_poll import RrdPoll
from migd_controller.slurm import SlurmWatch
from migd_controller.succession import Succession
from migd_controller.timeline_store import TimelineStore
from migd_controller.unused_memory import give_back
from migd_controller.webhooks import Webhooks
from migd_controller.xapi import Pool
from migd_core import systemd
from migd_core.errors import MigdError
from migd_policies.registry import configure

log = structlog.get_logger()
PRUNE_S = 60.0
PRUNE_STEP_S = 0.2


async def run(config: ControllerConfig) -> None:
    """Run until SIGTERM or SIGINT. Raises MigdError where the start fails, with what to do about it."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    configure(config.policy.name, config.policy.config)  # a mistyped policy is an error now, not after the first start
    for shadow in config.shadow:
        configure(shadow.name, shadow.config)
    with _only_controller(config.state_dir), contextlib.ExitStack() as closing:
        pool = Pool(config.xapi)
        journal = Journal(place_of(config))
        closing.callback(journal.close)
        history = TimelineStore(config.state_dir / "timeline.sqlite")
        closing.callback(history.close)
        core = Core(config, journal.memory() or first_memory(config))
        pool.remember(core.memory.pool_addresses)
        control = Control(core, journal, Clock())
        closing.callback(control.recording.close)
        if config.record.on and config.leader is None:
            control.recording.switch_on(control.clock.now_s())
        control.watchers.append(history.watcher(core))
        intake = Intake(config.telemetry, lambda sample: control.take_in(SampleArrived(sample=sample)))
        closing.callback(intake.close)
        outbox = LeaseOutbox(
            intake.context, config.leases_on, config.telemetry.secret_key_file, control.take_in, intake.host_of
        )
        closing.callback(outbox.close)
        metrics = Metrics(control, intake.counts, config.state_dir)
        control.watchers.append(metrics.heard)
        succession: Succession | None = None
        if config.leader is not None:
            succession = Succession(config, control, outbox, intake.context)
            closing.callback(succession.follower.close)
        webhooks = Webhooks(config.webhooks, control, intake.counts, metrics.delivered)
        control.watchers.append(_if_leading(succession, webhooks.heard))
        slurm = SlurmWatch(config.slurm, control) if config.slurm is not None else None
        calls = PoolCalls(pool)
        doctor = Doctor(control, intake.counts, lambda: intake.authorised, PoolQuestions(pool, calls).ask)
        api = Api(control, intake.counts, history.timeline, slurm, doctor)
        if succession is not None:
            api.leader = doctor.leader = succession.view
            api.behind_audit.append(only_leader(succession.refusal, succession.settled))
            metrics.also(succession.families)
        service = Service(api, control, config, metrics)
        watch = PoolWatch(pool, control.take_in)
        rrds = RrdPoll(pool, core.inventory, intake.has_agent, control.take_in)
        async with asyncio.TaskGroup() as tasks:
            change = succession.leader.change if succession is not None else None
            executor = Executor(calls, watch, control.take_in, tasks, config.xapi, change)
            probes = ProbeExecutor(calls, outbox, control.take_in, tasks, change)

            def submit(command: PoolCommand | ProbeCommand) -> None:
                if succession is not None and not succession.has_begun:
                    return  # what a standby sees end, the leader ends
                if isinstance(command, ProbeCommand):
                    probes.submit(command)
                else:
                    executor.submit(command)

            def lead() -> None:
                """Begin with what only a leader does."""
                may = (lambda: succession.leader.leads) if succession is not None else (lambda: True)
                background.append(tasks.create_task(_tick(control, config.period_s, may), name="ticks"))
                if slurm is not None:
                    background.append(tasks.create_task(slurm.run(), name="slurm"))

            control.submit = submit
            background: list[asyncio.Task[None]] = []
            try:
                async with contextlib.AsyncExitStack() as listeners:
                    on_socket = serving(service.on_socket(), config.socket, config.socket_mode)
                    await listeners.enter_async_context(on_socket)
                    url = await listeners.enter_async_context(service.over_tcp())
                    background += [
                        tasks.create_task(control.fails(), name="failure"),
                        tasks.create_task(watch.run(), name="watch"),
                        tasks.create_task(intake.run(), name="intake"),
                        tasks.create_task(outbox.run(), name="leases"),
                        tasks.create_task(rrds.run(config.telemetry.rrd_period_s), name="rrds"),
                        tasks.create_task(_prune(control, config), name="prune"),
                        tasks.create_task(service.run(), name="http"),
                        *(tasks.create_task(each.run(), name=f"webhook {each.name}") for each in webhooks.all),
                        tasks.create_task(_feed_watchdog(), name="watchdog"),
                        tasks.create_task(give_back(lambda: core.inventory.is_known), name="unused memory"),
                    ]
                    if succession is None:
                        control.adopt()
                        lead()
                    else:
                        tasks.create_task(succession.leader.run(), name="lease")
                        background.append(tasks.create_task(succession.run(lead), name="succession"))
                        background.append(tasks.create_task(succession.follower.run(), name="memory"))
                    log.info(
                        "controller ready",
                        socket=str(config.socket),
                        url=url,
                        telemetry=intake.endpoint,
                        stands_by=succession is not None or None,
                        leases=outbox.endpoint,
                        pool=config.xapi.url,
                        policy=core.policy.name,
                        policy_problem=core.policy_problem or None,
                        adopted=len(core.memory.in_flight),
                    )
                    systemd.notify("READY=1")
                    await stop.wait()
                    log.info("controller stops", under_way=len(core.memory.in_flight))
                    systemd.notify("STOPPING=1")
                    for task in background:
                        task.cancel()
            finally:
                executor.leave()
                probes.leave()
                watch.stop()
                if succession is not None:
                    await succession.leader.close()
                await asyncio.to_thread(_close_pool, pool, watch, calls, rrds)


def _close_pool(pool: Pool, watch: PoolWatch, calls: PoolCalls, rrds: RrdPoll) -> None:
    pool.close()
    watch.close()
    calls.close()
    rrds.close()


def _if_leading(succession: Succession | None, watcher: Watcher) -> Watcher:
    """Return a watcher that hears nothing while this controller stands by."""
    if succession is None:
        return watcher
    return lambda event, commands: watcher(event, commands) if succession.has_begun else None


async def _tick(control: Control, period_s: float, may: Callable[[], bool]) -> None:
    """One tick a period, if it may be. A late one is skipped, never made up for in a burst."""
    loop = asyncio.get_running_loop()
    due_s = loop.time() + period_s
    while True:
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        if may():
            control.dispatch(Tick())
            if control.core.memory.contest.shadows:
                control.dispatch(ShadowTurn())
        while due_s <= loop.time():
            due_s += period_s


async def _prune(control: Control, config: ControllerConfig) -> None:
    """Forget what is too old or too much, a little at a time: the loop has its turn in between."""
    limits = Limits(config.keep_s, config.keep_samples_s, config.journal.max_bytes)
    while True:
        is_more = control.journal.prune(control.clock.now_s(), limits)
        await asyncio.sleep(PRUNE_STEP_S if is_more else PRUNE_S)


async def _feed_watchdog() -> None:
    """Tell systemd's watchdog that the loop turns, for as long as it does."""
    period_s = systemd.watchdog_period_s()
    while period_s is not None:
        systemd.notify("WATCHDOG=1")
        await asyncio.sleep(period_s)


@contextlib.contextmanager
def _only_controller(state_dir: Path) -> Iterator[None]:
    """Hold the lock that keeps a second controller off this state and socket. Raises MigdError."""
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MigdError(f"state_dir {state_dir}: cannot be used: {error.strerror}; check its owner and mode") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MigdError(
                f"another controller is running on {state_dir} (process {_holder(descriptor)}); "
                "stop it first, or give this one its own state_dir and socket"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    return os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip() or "unknown"


@contextlib.asynccontextmanager
async def serving(app: web.Application, path: Path, mode: str) -> AsyncIterator[None]:
    """Serve the API on a Unix socket that has its mode (octal) from its first moment on. Raises MigdError."""
    _make_room(path)
    places = Places(app, MAX_CONNECTIONS)
    runner = await runner_of(app, places)
    try:
        mask = os.umask(0o777 & ~int(mode, 8))
        try:
            listener = await asyncio.get_running_loop().create_unix_server(places, str(path), backlog=BACKLOG)
        finally:
            os.umask(mask)
    except OSError as error:
        await runner.cleanup()
        raise MigdError(f"socket {path}: cannot be made: {error}; check its folder's owner and mode") from error
    try:
        yield
    finally:
        listener.close()
        await runner.cleanup()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _make_room(path: Path) -> None:
    """Take away the socket that a controller left behind when it died. Raises MigdError."""
    if _is_answered(path):
        raise MigdError(f"socket {path}: another controller answers on it; give this one its own socket")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_socket():
            raise MigdError(f"socket {path}: is there already and is no socket; move it away, or set socket to another")
        path.unlink(missing_ok=True)
    except OSError as error:
        raise MigdError(f"socket {path}: cannot be made: {error}; check its folder's owner and mode") from error


def _is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
