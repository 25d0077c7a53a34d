"""How fast the page is with 64 hosts and 1,000 guests: the figures are printed (`pytest -rP`), and held to the goals.

What the page and the controller work is measured as CPU time. Tests run beside others: where the machine is busy, CPU
time is allowed to be twice the goal, for caches are shared, and waiting is stretched by how busy it is.
"""

import sys
import time
from typing import Any

from playwright.sync_api import CDPSession
from staged import Staged, cluster
from visits import Stager, Visit, Visitor

from migd_controller.events import JobAdded

FIRST_PICTURE_S = 1.0
UPDATE_S = 0.1
TRANSFERRED_BYTES = 300_000
# A browser's first picture passes through four processes, each of which waits for its turn on a busy machine.
TURNS = 4
IDLE_SLOWNESS = 1.1
SHARED_CACHES = 2.0
# From the start of the navigation to the frame after which every guest is on the screen.
WATCH = """
window.updates = 0; window.picture_ms = null;
new PerformanceObserver((list) => { window.updates += list.getEntriesByName("migd update").length; })
  .observe({type: "measure"});
(function look() {
  if (document.querySelectorAll("a.guest").length < 1000) return requestAnimationFrame(look);
  requestAnimationFrame(() => setTimeout(() => { window.picture_ms = performance.now(); }));
})();
"""


class Wire:
    """What came to the browser, in bytes: heads and bodies, as they were compressed."""

    def __init__(self, session: CDPSession) -> None:
        self.bytes = 0
        session.on("Network.responseReceived", self._head)
        session.on("Network.dataReceived", self._data)
        session.send("Network.enable")

    def _head(self, event: Any) -> None:
        self.bytes += int(event["response"]["encodedDataLength"])

    def _data(self, event: Any) -> None:
        self.bytes += int(event["encodedDataLength"])


def begin(visit: Visitor, staged: Staged) -> tuple[Visit, CDPSession, Wire]:
    """Open a browser that has seen nothing yet, and that tells the CPU time of the page's main thread."""
    seen = visit(staged)
    seen.page.add_init_script(WATCH)
    session = seen.page.context.new_cdp_session(seen.page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    return seen, session, Wire(session)


def main_thread_s(session: CDPSession) -> float:
    """Return how long the page's main thread has worked: script, style, layout, painting; not on what tests asked."""
    metrics = {each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"] - metrics["DevToolsCommandDuration"])


def slowness() -> float:
    """Return how much longer than its CPU time something takes on this machine now."""
    began_s, worked_s = time.monotonic(), time.thread_time()
    while time.thread_time() - worked_s < 0.2:
        pass
    return (time.monotonic() - began_s) / (time.thread_time() - worked_s)


def test_a_big_cluster_is_seen_within_a_second_and_followed_without_a_stutter(stage: Stager, visit: Visitor) -> None:
    staged = stage(cluster(racks=4, hosts=64, guests=1000))
    for n in range(1, 51):
        ranks = tuple(f"job{n}-{rank}" for rank in range(16))
        staged.tell(JobAdded(name=f"job{n}", guests=ranks, remaining_s=3600.0))
    staged.pass_time(2)
    waited_s, worked_s = [], []
    slow = slowness()
    for _ in range(2):  # the first finds controller and machine cold
        seen, session, wire = begin(visit, staged)
        controller_s = staged.do(time.thread_time)
        seen.at()
        # A function: the page's content security policy refuses a bare expression, as soon as it has to be polled.
        seen.page.wait_for_function("() => window.picture_ms !== null")
        waited_s.append(seen.page.evaluate("window.picture_ms") / 1000)
        worked_s.append(main_thread_s(session) + staged.do(time.thread_time) - controller_s)
        seen.page.wait_for_function("() => document.querySelector('.chords').dataset.chords !== undefined")
    slow = max(slow, slowness())
    transferred = wire.bytes
    updates_s = []
    for n in range(4):
        for place, guest in enumerate(staged.cluster.wants):
            staged.cluster.wants[guest] = 0.05 + 0.1 * ((place * 7 + n * 3) % 10) / 10
        before, began_s = seen.page.evaluate("window.updates"), main_thread_s(session)
        staged.pass_time()
        seen.page.wait_for_function("(before) => window.updates > before", arg=before, polling=200)
        # The two frames after it have painted what it changed.
        seen.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        updates = seen.page.evaluate("window.updates") - before
        updates_s.append((main_thread_s(session) - began_s) / updates)
    seen.picture("cluster-64-hosts")
    sys.stdout.write(
        f"first picture after {min(waited_s):.2f} s (the machine takes {slow:.1f} times its CPU time), "
        f"of which page and controller worked {1000 * min(worked_s):.0f} ms; {transferred / 1000:.0f} kB transferred; "
        f"an update keeps the main thread for {1000 * max(updates_s):.0f} ms at most\n"
    )
    assert transferred <= TRANSFERRED_BYTES
    is_idle = slow < IDLE_SLOWNESS
    assert max(updates_s) <= UPDATE_S * (1.0 if is_idle else SHARED_CACHES)
    assert min(worked_s) <= FIRST_PICTURE_S * (1.0 if is_idle else SHARED_CACHES)
    assert min(waited_s) <= FIRST_PICTURE_S * (1.0 if is_idle else TURNS * slow)
