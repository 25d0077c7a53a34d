"""What would flip a decision: each condition, taken at its word, flips it."""

import math
import re
from dataclasses import replace
from types import MappingProxyType

import msgspec
import pytest

from builders import guest, host, job, move, world
from migd_core.messages import DirtyCurve
from migd_core.units import GIB
from migd_core.world import World
from migd_policies.flips import flips
from migd_policies.ledger import price

AWAY = move("rank0", "a", "b")
BUSY = DirtyCurve((0.1, 1.0, 10.0, 20.0), (400, 4_000, 30_000, 50_000))


def crowded(remaining_s: float | None, curve: DirtyCurve = BUSY, link: float = 125e6) -> World:
    """Host a is asked for 5 of its 4 CPUs, so rank0 would step in 0.8 of the time on b."""
    return world(
        host("a", load=1.0, link_bytes_per_s=link),
        host("b", link_bytes_per_s=link),
        guest("rank0", on="a", memory_bytes=4 * GIB, dirty_curve=curve),
        job("brams", "rank0", remaining_s=remaining_s),
    )


def pays(then: World) -> bool:
    return price(then, [AWAY]).sure_s(1.0) >= 10.0


def number(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1].replace(",", ""))


def seconds(text: str) -> float:
    minutes, rest = re.search(r"(?:(\d+) min)? ?(?:([\d.]+) s)?", text).groups()  # type: ignore[union-attr]
    return 60 * float(minutes or 0) + float(rest or 0)


def test_a_job_that_is_nearly_over_would_be_moved_if_it_ran_longer() -> None:
    found = flips(crowded(60.0), AWAY, 10.0, 1.0)
    assert not found.pays
    told = re.search(r"job brams had more than (.*) left \(it has 60 s\)|\(it has 1 min\)", found.text)
    assert told is not None, found.text
    needed_s = seconds(told[1])
    assert not pays(crowded(needed_s - 3.0))
    assert pays(crowded(needed_s + 3.0))


def test_a_move_that_pays_would_not_if_the_guest_wrote_much_more_or_the_link_were_slow() -> None:
    now = crowded(400.0)
    found = flips(now, AWAY, 10.0, 1.0)
    assert found.pays
    assert found.text.startswith("it would not pay if ")
    assert "job brams had less than" in found.text
    slower = number(found.text, r"the link carried less than ([\d.]+) ?M") * 2**20
    assert pays(crowded(400.0, link=slower * 1.1))
    assert not pays(crowded(400.0, link=slower * 0.9))


def test_a_guest_that_writes_too_much_would_be_moved_if_it_wrote_less() -> None:
    wild = DirtyCurve((0.1, 1.0, 10.0, 20.0), (20_000, 200_000, 900_000, 1_000_000))
    then = crowded(600.0, wild)
    found = flips(then, AWAY, 10.0, 1.0)
    assert not found.pays
    fewer = number(found.text, r"the guest dirtied less than ([\d,]+) pages/s \(it dirties 200,000\)")

    def writing(per_s: float) -> World:
        times = per_s / 200_000
        curve = msgspec.structs.replace(wild, unique_pages=tuple(round(n * times) for n in wild.unique_pages))
        return crowded(600.0, curve)

    assert pays(writing(fewer * 0.95))
    assert not pays(writing(fewer * 1.05))


def test_nothing_makes_a_move_pay_that_slows_its_job_down() -> None:
    calm = world(host("a"), host("b", load=2.0), guest("rank0", on="a", dirty_curve=BUSY))
    found = flips(calm, AWAY, 10.0, 1.0)
    assert (found.pays, found.conditions) == (False, ())
    assert found.text == "nothing that could be otherwise would make it pay"


def test_a_guest_without_a_job_is_judged_by_how_long_the_imbalance_lasts() -> None:
    then = crowded(None)
    then = replace(then, pricing=msgspec.structs.replace(then.pricing, horizon_s=30.0), jobs=MappingProxyType({}))
    assert "the imbalance lasted longer than" in flips(then, AWAY, 10.0, 1.0).text


@pytest.mark.parametrize("certainty_sds", [0.0, 1.0, 3.0])
def test_certainty_asks_for_more_time_and_never_less(certainty_sds: float) -> None:
    least = price(crowded(600.0), [AWAY])
    cost_s, cost_sd_s = least.counted_cost_s
    off_s = certainty_sds * math.hypot(cost_sd_s, least.ratio_sd_s)
    assert least.sure_s(certainty_sds) == pytest.approx(least.gain_s - cost_s - off_s)
