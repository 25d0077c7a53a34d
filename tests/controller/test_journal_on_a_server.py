"""A journal on a PostgreSQL server: one controller writes to it, and ends rather than act once the server is gone."""

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from live_cluster import LIMIT_S, LiveCluster, LiveController
from msgspec.structs import replace

from migd_cli.demo.children import brood
from migd_controller.commands import StartMigration
from migd_controller.events import Paused, Tick
from migd_controller.journal import Journal, JournalError
from migd_controller.journal_database import connect, server
from migd_controller.journal_export import entries
from migd_controller.journal_schema import VERSION
from migd_controller.memory import Memory
from postgresql import Postgresql, postgresql_server
from test_watchdog import Manager, controller_config, start

MEMORY = Memory(policy="observe")
START = StartMigration(cause="D1.1", guest="g1", source="a", target="b")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    with postgresql_server() as server:
        yield server


def kinds(url: str) -> list[str]:
    """What stands in the log."""
    problems: list[str] = []
    found = [entry.kind for entry in entries(server(url), problems.append)]
    assert problems == []
    return found


def test_a_second_controller_is_refused_for_as_long_as_the_first_is_there(postgresql: Postgresql) -> None:
    url = postgresql.database()
    with closing(Journal(server(url))) as first:
        first.write(1.0, Tick(), [], MEMORY)
        with pytest.raises(JournalError, match=rf"journal {url}: another controller writes to it"):
            Journal(server(url))
        first.write(2.0, Paused(), [], MEMORY)
    with closing(Journal(server(url))) as second:
        assert second.memory() == MEMORY
    with closing(Journal(server(postgresql.database()))) as elsewhere:
        assert elsewhere.memory() is None
    assert kinds(url) == ["Tick", "Paused"]


def test_a_commit_is_synced_whatever_the_server_does_by_default(postgresql: Postgresql) -> None:
    with closing(Journal(server(postgresql.database()))) as journal, journal.transaction() as database:
        assert database.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
    with psycopg.connect(postgresql.url("postgres")) as other:
        assert other.execute("SHOW synchronous_commit").fetchone() == ("off",)


def test_a_server_that_crashes_ends_the_journal_for_good_and_what_was_committed_is_there_afterwards(
    postgresql: Postgresql,
) -> None:
    url = postgresql.database()
    journal = Journal(server(url))
    paused = replace(MEMORY, is_paused=True)
    journal.write(1.0, Tick(), [START], paused)
    postgresql.end()
    gone = rf"journal {url}: cannot be written: .*; nothing is migrated without it. Check the server"
    with pytest.raises(JournalError, match=gone):
        journal.write(2.0, Tick(), [START], MEMORY)
    with pytest.raises(JournalError, match=rf"journal {url}: the server cannot be used: .* Check that it runs"):
        Journal(server(url))
    postgresql.start()
    with pytest.raises(JournalError, match="the connection was lost earlier"):
        journal.write(3.0, Tick(), [START], MEMORY)
    with pytest.raises(JournalError, match="the connection was lost earlier"):
        journal.migrations(10)
    journal.close()
    with closing(Journal(server(url))) as again:
        assert again.memory() == paused
    assert kinds(url) == ["Tick", "StartMigration"]


def test_who_has_lost_the_connection_and_with_it_the_lock_does_not_write_beside_its_successor(
    postgresql: Postgresql,
) -> None:
    url = postgresql.database()
    first = Journal(server(url))
    first.write(1.0, Tick(), [], MEMORY)
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'migd-controller'"
        )
    with closing(Journal(server(url))) as second:
        second.write(2.0, Paused(), [], MEMORY)
        for _ in range(2):
            with pytest.raises(JournalError, match="cannot be written"):
                first.write(3.0, Tick(), [START], MEMORY)
        second.write(4.0, Paused(), [], MEMORY)
    first.close()
    assert kinds(url) == ["Tick", "Paused", "Paused"]


def test_a_server_knows_which_schema_it_has_and_a_newer_one_is_refused(postgresql: Postgresql) -> None:
    place = server(postgresql.database())
    for _ in range(2):
        Journal(place).close()
    with closing(connect(place)) as database, database.begin():
        assert database.exec_driver_sql("SELECT version FROM schema").scalar_one() == VERSION
        database.exec_driver_sql(f"UPDATE schema SET version = {VERSION + 1}")
    with pytest.raises(JournalError, match=rf"newer release of migd \(schema {VERSION + 1};"):
        Journal(place)


def test_a_user_who_is_not_let_in_is_told_so_without_the_password(postgresql: Postgresql, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    url = postgresql.database().replace("migd@", "nobody@")
    with pytest.raises(JournalError, match='role "nobody" does not exist') as refused:
        Journal(server(url, tmp_path / "password"))
    assert "s3cret" not in str(refused.value)
    assert "nobody:***@" in str(refused.value)


@contextlib.contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """Processes that do nothing, not even end, until the block is left."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_hangs_leaves_the_watchdog_without_word_of_the_controller(
    postgresql: Postgresql, tmp_path: Path
) -> None:
    """Nothing is moved meanwhile, for nothing goes through the loop; systemd ends it, and starts another."""
    config, manager = controller_config(tmp_path), Manager(tmp_path)
    with config.open("a") as file:
        file.write(f'\n[journal]\nurl = "{postgresql.database()}"\n')
    controller = start("migd_controller", config, manager)
    try:
        while manager.heard() != "READY=1":
            pass
        with psycopg.connect(postgresql.url("postgres")) as admin:
            query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'migd-controller'"
            (pids,) = admin.execute(query).fetchall()
        with stopped(pids):
            manager.falls_silent()
            controller.send_signal(signal.SIGABRT)
            _, words = controller.communicate(timeout=LIMIT_S)
        assert controller.returncode == -signal.SIGABRT
        assert "journal.py" in words.partition("Fatal Python error: Aborted")[2]
    finally:
        controller.kill()
        controller.communicate()
        manager.socket.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LiveCluster]:
    with brood(tmp_path) as children:
        yield LiveCluster(tmp_path, children)


@pytest.fixture
def controller(cluster: LiveCluster, postgresql: Postgresql) -> Iterator[LiveController]:
    controller = cluster.controller()
    configured = controller.config.read_text()
    controller.config.write_text(f'{configured}\n[journal]\nurl = "{postgresql.database()}"\n')
    controller.start()
    cluster.start_agents(controller)
    controller.sees_everything()
    yield controller
    controller.end(signal.SIGKILL)


def test_a_controller_whose_server_goes_away_ends_and_the_next_one_takes_up_what_was_under_way(
    cluster: LiveCluster, controller: LiveController, postgresql: Postgresql
) -> None:
    asked = controller.ask("POST", "/v1/migrations", guest="big", host="xen2")
    controller.history(lambda views: views[0].state == "running")
    assert controller.child is not None
    postgresql.end()
    assert controller.child.wait(LIMIT_S), controller.child.last_words()
    assert "cannot be written: " in controller.child.log()
    assert "nothing is migrated without it. Check the server and the way to it" in controller.child.log()
    assert "Traceback" not in controller.child.log()
    refused = controller.start()
    assert refused.wait(LIMIT_S)
    assert "the server cannot be used: " in refused.log()
    postgresql.start()
    controller.start()
    (moved,) = controller.history(lambda views: views[0].ok is not None)
    assert (moved.cause, moved.state, moved.text) == (asked.cause, "moved", "")
    assert [(each["guest"], each["ok"]) for each in cluster.pool.migrations()] == [("big", True)]
    controller.end()
