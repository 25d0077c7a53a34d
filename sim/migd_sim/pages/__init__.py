"""Guests whose every page has its own times of writing, copied page by page: the truth to hold predictions against.

`migd_sim.model` moves guests by the formula of what they write; here nothing is a formula, and nothing is shared with
the predictor but the stop rules. Slower, so for measuring predictions, not for running clusters.
"""

from migd_sim.pages.copying import Copied, copy_guest
from migd_sim.pages.counting import counted_curve
from migd_sim.pages.families import DEVELOPMENT, HELD_OUT, Drawn, draw
from migd_sim.pages.writers import Clock, PagedGuest, Passes, Scattered, Writer

__all__ = [
    "DEVELOPMENT",
    "HELD_OUT",
    "Clock",
    "Copied",
    "Drawn",
    "PagedGuest",
    "Passes",
    "Scattered",
    "Writer",
    "copy_guest",
    "counted_curve",
    "draw",
]
