"""`python -m benchmarks._load`: agents, each with its key, against one controller on loopback; then trouble on top.

First the calm part, `--seconds` long: all agents send a sample a second, Prometheus scrapes, somebody looks at the
status. Then, with all of that going on, each trouble in turn for `--trouble-seconds`: an authorised agent gone mad,
connections that are none, readers of the event stream that do not read. What was sent is compared, sample by sample,
with what the controller's journal says it took in.

A table goes to standard error; one JSON object to standard output: the goals and all figures. The exit code is 1 where
a goal was missed.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks._goals import Goal, text
from benchmarks._load.still_pool import host_uuid
from benchmarks._load.taken_in import Taken, taken_in
from benchmarks._load.watched import Controller, Watched, flatness
from migd_core import keys
from migd_sim.run.options import above_zero, whole

AGENTS_A_PROCESS: Final = 250
READY_WITHIN_S: Final = 900.0
SLOW_READERS: Final = 32
# The first curves, flows and decisions; and each connection of libzmq takes 32 kB as its queue goes round for the first
# time, 170 samples long. From then on memory stands still, or does not.
WARM_UP_S: Final = 180.0
# What a mad agent has sent waits in queues when it is over.
SETTLES_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Span:
    """From when until when (Unix time) a trouble went on, and how many samples were passed over meanwhile."""

    since_s: float
    until_s: float
    passed_over: int


def main(arguments: Sequence[str]) -> int:
    """Run it and hold the figures against the goals; return the exit code."""
    options = argparse.ArgumentParser(prog="python -m benchmarks._load")
    options.add_argument("--agents", type=whole(1), default=1000)
    options.add_argument("--guests", type=whole(1), default=20, help="guests of each agent's host")
    options.add_argument("--seconds", type=above_zero, default=600.0, help="length of the calm part")
    options.add_argument("--trouble-seconds", type=above_zero, default=30.0, help="length of each trouble")
    options.add_argument("--period-s", type=above_zero, default=5.0, help="the controller's control period")
    options.add_argument("--junk", type=whole(1), default=10_000, help="connections that are none")
    asked = options.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="migd-load-") as name:
        figures = run(Path(name), asked)
    rows = [goal.row(figures) for goal in GOALS]
    print(f"\n{text(rows)}", file=sys.stderr)
    print(json.dumps({"goals": rows, "figures": figures}, indent=2))
    return int(not all(row["met"] for row in rows))


def run(folder: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Return all figures. Raises where something does not come up, or ends by itself."""
    make_keys(folder, asked.agents + 1)  # the last one goes mad
    with contextlib.ExitStack() as closing:
        pool = closing.enter_context(process("still_pool", str(asked.agents), str(asked.guests)))
        url = json.loads(line(pool))["url"]
        controller = closing.enter_context(Controller(folder, url, asked.period_s))
        controller.wait_for_inventory(READY_WITHIN_S)
        _say(f"{asked.agents} hosts with {asked.guests} guests each are known; starting their agents")
        agents = [
            closing.enter_context(
                process("agents", str(folder), controller.telemetry, str(first), str(count), str(asked.guests))
            )
            for first, count in _shares(asked.agents)
        ]
        for each in agents:
            assert line(each).strip() == "ready"
        for each in agents:
            _send(each, "go")
        _say(f"all agents send; calm for {asked.seconds:g} s")
        watched = Watched(controller)
        watched.watch(min(WARM_UP_S, asked.seconds))
        began = watched.part("calm")
        watched.watch(asked.seconds)
        calm_until_s = time.time()
        calm = watched.over(began)
        troubles, spans = {}, {}
        for kind, words in _troubles(folder, controller, asked).items():
            _say(f"{kind} for {asked.trouble_seconds:g} s")
            since_s, passed_over = time.time(), controller.counts()["superseded"]
            with process("trouble", kind, *words) as trouble:
                assert line(trouble).strip() == "ready"
                began = watched.part(kind)
                watched.watch(asked.trouble_seconds)
                assert trouble.stdin is not None
                trouble.stdin.close()
                did = json.loads(line(trouble))
            troubles[kind] = {**watched.over(began), **did}
            watched.watch(SETTLES_S)
            spans[kind] = Span(since_s, time.time(), int(controller.counts()["superseded"] - passed_over))
        began = watched.part("after")
        watched.watch(asked.trouble_seconds)
        after = watched.over(began)
        for each in agents:
            _send(each, "end")
        sent_by_process = [json.loads(line(each)) for each in agents]
        counts = controller.counts_at_rest()
        controller.end()
    sent = {host: count for each in sent_by_process for host, count in each["sent"].items()}
    mad = spans["mad-agent"]
    taken = taken_in(controller.journal, sent, calm_until_s, (mad.since_s, mad.until_s))
    return {
        "agents": asked.agents,
        "guests_of_each": asked.guests,
        "seconds": asked.seconds,
        "load_average": os.getloadavg()[1],
        "samples": _samples(sent, sent_by_process, taken, counts, mad),
        "calm": calm,
        "troubles": troubles,
        "after": after,
        "rss_growth_ratio": flatness(watched.rss_of("calm")),
        "rss_by_minute_mb": [round(each / 1e6, 1) for each in watched.rss_of("calm")[::60]],
        "journal_mb": round(controller.journal.stat().st_size / 1e6, 1),
        "agents_late_s": max(each["late_s"] for each in sent_by_process),
    }


def _samples(
    sent: dict[str, int], processes: list[dict[str, Any]], taken: Taken, counts: dict[str, float], mad: Span
) -> dict[str, Any]:
    """Return what became of samples.

    The controller counts those it passed over for a newer one of their host, but not whose they were. While an agent is
    mad most are that one's, so what is missing of the others then is told by itself, and not made good by that count.
    """
    missing = sum(count - taken.of_host.get(host, 0) for host, count in sent.items())
    return {
        "sent": sum(sent.values()),
        "dropped_by_agents": sum(each["dropped"] for each in processes),
        "taken_in": sum(taken.of_host.get(host, 0) for host in sent),
        "not_taken_in": missing,
        "not_taken_in_beside_the_mad_agent": taken.gaps_over,
        "passed_over_for_a_newer_one": int(counts["superseded"]) - mad.passed_over,
        "not_taken_in_while_calm": taken.gaps_while_calm,
        "refused": int(counts["refused"]),
        "of_the_mad_agent_taken_in": sum(n for host, n in taken.of_host.items() if host not in sent),
    }


def _troubles(folder: Path, controller: Controller, asked: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    addresses = [each.removeprefix("tcp://") for each in (controller.telemetry, controller.leases)]
    tcp = controller.url.removeprefix("http://")
    return {
        "mad-agent": (str(folder), controller.telemetry, controller.leases, str(asked.agents)),
        "junk": (str(asked.junk), *addresses, tcp, str(controller.socket)),
        "slow-readers": (str(SLOW_READERS), tcp, controller.token()),
    }


def make_keys(folder: Path, agents: int) -> None:
    """Make the keys of a controller and of so many agents, and the list that lets these in."""
    keys.create(folder, "controller")
    lines = ["[agents]"]
    for number in range(agents):
        public, _ = keys.create(folder, host_uuid(number))
        lines.append(f'"{host_uuid(number)}" = {json.dumps(keys.read_public(public))}')
    (folder / "agents.toml").write_text("\n".join(lines) + "\n")


def _shares(agents: int) -> Iterator[tuple[int, int]]:
    for first in range(0, agents, AGENTS_A_PROCESS):
        yield first, min(AGENTS_A_PROCESS, agents - first)


@contextlib.contextmanager
def process(module: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A process of this package, which ends with the block: all of them end when their input does, or are killed."""
    command = [sys.executable, "-m", f"benchmarks._load.{module}", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as begun:
        try:
            yield begun
        finally:
            begun.kill()


def line(of: "subprocess.Popen[str]") -> str:
    """Return the next line that a process prints. Raises RuntimeError where it has ended instead."""
    assert of.stdout is not None
    found = of.stdout.readline()
    if not found:
        raise RuntimeError(f"{of.args!r} ended with exit code {of.wait()}")
    return found


def _send(to: "subprocess.Popen[str]", word: str) -> None:
    assert to.stdin is not None
    to.stdin.write(f"{word}\n")
    to.stdin.flush()


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def _share_not_taken_in(figures: Any) -> list[float]:
    samples = figures["samples"]
    return [samples["not_taken_in"] / max(1, samples["sent"])]


def lost(figures: Any) -> list[float]:
    """Samples that left an agent, not beside a mad one, and were neither taken in nor passed over for a newer one."""
    samples = figures["samples"]
    elsewhere = samples["not_taken_in"] - samples["not_taken_in_beside_the_mad_agent"]
    return [max(0, elsewhere - samples["passed_over_for_a_newer_one"])]


def _of_parts(name: str) -> Any:
    return lambda figures: [part[name] for part in (figures["calm"], *figures["troubles"].values(), figures["after"])]


GOALS: Final = (
    Goal("load", "samples that agents could not send", lambda f: [f["samples"]["dropped_by_agents"]], 0, 0, ""),
    Goal("load", "samples lost between agents and decisions", lost, 0, 0, ""),
    Goal("load", "samples not taken in, for a newer one of their host", _share_not_taken_in, most=0.01),
    Goal("load", "hosts frozen, calm or in trouble", _of_parts("hosts_frozen_most"), 0, 0, ""),
    Goal("load", "calm: CPU of the controller", lambda f: [f["calm"]["cpu_ratio"]], most=1.0),
    Goal("load", "resident memory, most of all", _of_parts("rss_most_mb"), most=500, unit="MB"),
    Goal("load", "calm: growth of resident memory, of its mean", lambda f: [f["rss_growth_ratio"]], most=0.05),
    Goal("load", "calm: ticks, 99 % within", lambda f: [f["calm"]["tick_p99_s"]], most=1.0, unit="s"),
    Goal("load", "in trouble: longest tick", _of_parts("tick_worst_s"), most=2.5, unit="s"),
    Goal("load", "answers to `migctl status` and Prometheus, longest", _of_parts("status_worst_s"), most=5.0, unit="s"),
)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
