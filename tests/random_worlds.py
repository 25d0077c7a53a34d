"""Clusters drawn at random by hypothesis, small and as uneven as may be."""

from hypothesis import strategies as st

from builders import flow, guest, host, move, topology, world
from migd_core.units import GIB
from migd_core.world import Level, Link, World


@st.composite
def worlds(draw: st.DrawFn, may_be_moving: bool = True) -> World:
    names = [f"host{n}" for n in range(draw(st.integers(1, 6)))]
    some = draw(st.randoms(use_true_random=False))
    hosts = [
        host(
            name,
            cpus=some.choice((1, 2, 4, 8)),
            memory_bytes=some.choice((8, 16, 32)) * GIB,
            load=some.choice((0.0, 0.1, 0.9)),
            recent=[some.uniform(0.0, 3.0) for _ in range(2)] if some.random() < 0.3 else (),
            is_enabled=some.random() < 0.9,
            frozen_because=None if some.random() < 0.9 else "it is silent",
        )
        for name in names
    ]
    guests = [
        guest(
            f"guest{n:02}",
            on=some.choice(names),
            vcpus=some.choice((1, 2, 4)),
            demand=some.choice((0.0, 0.3, 1.0)),
            memory_bytes=some.choice((1, 2, 4)) * GIB,
            job=some.choice((None, "job0", "job1")),
            immovable_because=None if some.random() < 0.9 else "it is tagged migd:never",
        )
        for n in range(draw(st.integers(0, 16)))
    ]
    uuids = [one.uuid for one in guests]
    pairs = {tuple(sorted(some.sample(uuids, 2))) for _ in range(len(uuids))} if len(uuids) > 1 else set()
    flows = [flow(a, b, some.uniform(1e5, 2e7)) for a, b in sorted(pairs)]
    levels = {
        level: Link(some.choice((1e6, 1e7, 1e8)), 0.0)
        for level in (Level.SAME_HOST, Level.SAME_SWITCH, Level.WIDE_AREA)
        if some.random() < 0.8
    }
    moves = []
    if may_be_moving and guests and len(names) > 1 and some.random() < 0.5:
        leaving = some.choice(guests)
        moves.append(move(leaving.uuid, leaving.host, some.choice([name for name in names if name != leaving.host])))
    switches = {name: some.choice(("rack1", "rack2")) for name in names}
    return world(*hosts, *guests, *flows, topology=topology(levels, **switches), in_flight=moves)
