"""Whatever comes in, a parser answers with a value or with the refusal that is its own, within bounds.

`make fuzz` tries many more: FUZZ_INPUTS says how many for each parser. What fails is printed, as small as it gets.
"""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from fuzzing.inputs import near
from fuzzing.inventory import EXEMPT, readers
from fuzzing.targets import TARGETS

INPUTS: Final = int(os.environ.get("FUZZ_INPUTS", "25"))
# Of this thread's CPU; the largest inputs have 256 KiB.
WITHIN_CPU_S: Final = 2.0
HANGS_AFTER_S: Final = 60
MOST_MEMORY_BYTES: Final = 300 * 1024 * 1024


@contextmanager
def bounded() -> Iterator[None]:
    """Fail where the block takes long, hangs, or makes this process larger than it was by far."""

    def hangs(number: int, frame: object) -> None:
        raise AssertionError(f"hangs for {HANGS_AFTER_S} s")

    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANGS_AFTER_S)
    began_s = time.thread_time()
    try:
        yield
    finally:
        signal.alarm(0)
    assert time.thread_time() - began_s < WITHIN_CPU_S
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) * 1024 < MOST_MEMORY_BYTES


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.timeout(0)  # as long as FUZZ_INPUTS takes; each input has its own bounds
def test_any_input_is_a_value_or_the_parsers_own_refusal(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=INPUTS,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(near(target.seeds))
    def fuzz(data: bytes) -> None:
        with bounded():
            try:
                target.parse(data)
            except target.refuses as error:
                said = str(error)
            else:
                said = "taken"
        assert said, "refused without a word"

    fuzz()


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_fuzzed_begins_with_what_is_taken(name: str) -> None:
    """From seeds that are refused, nothing beyond the first check would ever be reached."""
    target = TARGETS[name]
    taken = 0
    for seed in target.seeds:
        try:
            target.parse(seed)
        except target.refuses:
            continue
        taken += 1
    assert taken


def test_every_module_that_reads_what_others_wrote_is_fuzzed_or_says_why_not() -> None:
    found = dict(readers())
    fuzzed = {module for target in TARGETS.values() for module in target.modules}
    assert {name: shown for name, shown in found.items() if name not in fuzzed and name not in EXEMPT} == {}
    assert EXEMPT.keys() - found.keys() == set(), "they read nothing any more"
    assert EXEMPT.keys() & fuzzed == set()


def test_a_parser_that_trips_is_found_by_few_inputs() -> None:
    """The fuzzer itself is tried on the mistakes that it is there to find."""
    seeds = (b"node1 12 running",)

    def tripped(parse: Callable[[str], object]) -> bool:
        @settings(max_examples=400, deadline=None, database=None, phases=(Phase.generate,), derandomize=True)
        @given(near(seeds))
        def fuzz(data: bytes) -> None:
            parse(data.decode(errors="backslashreplace"))

        try:
            fuzz()
        except Exception:  # noqa: BLE001 - that there is one is the point
            return True
        return False

    assert tripped(lambda text: [int(word) for word in text.split() if word.isdigit()])  # not all digits are int's
    assert tripped(lambda text: text.split()[2])
    assert tripped(lambda text: msgspec.json.decode(text) if text[:1] == "[" else None)
    assert not tripped(lambda text: text.split())
