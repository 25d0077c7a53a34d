"""When a live migration stops copying and stands still: the stop rules of each toolstack, as data.

Both the simulated cluster and the predictor read this table; each has its own arithmetic on it.
"""

from types import MappingProxyType
from typing import Final

import msgspec


class StopRules(msgspec.Struct, frozen=True, kw_only=True):
    """The end of the live phase: whichever limit is met first stops the guest and sends what is left.

    `max_rounds` counts the first, full round. `few_pages` is the greatest count of dirty pages that ends the live
    phase at once. `volume_cap_memories` limits what is sent to that many times the guest's memory (None: no limit).
    `skips_redirtied` says that a page dirtied again before its turn within a round is left for the next.
    """

    max_rounds: int
    few_pages: int
    volume_cap_memories: float | None = None
    skips_redirtied: bool = False


# Xen <= 4.5: tools/libxc/xc_domain_save.c (max_iters 29, max_factor 3, fewer than 50 pages, peeks to_skip).
# Xen >= 4.6: tools/libs/guest/xg_sr_save.c (SPP_MAX_ITERATIONS 5, SPP_TARGET_DIRTY_COUNT 50).
# XenServer: emu-manager emum.c:1172, (0 <= rem < 50) or iter >= 4, iterations counted from 0.
# XCP-ng: emu-manager 1.2.1 src/emu.c:261, rem <= 50 or iter >= 4, iterations counted from 0.
RULE_SETS: Final = MappingProxyType(
    {
        "xen-legacy": StopRules(max_rounds=29, few_pages=49, volume_cap_memories=3.0, skips_redirtied=True),
        "xen-4.6": StopRules(max_rounds=5, few_pages=49),
        "xenserver": StopRules(max_rounds=5, few_pages=49),
        "xcp-ng": StopRules(max_rounds=5, few_pages=50),
    }
)
