"""The guests of the labs, and what each does. A node has one CPU, so what is measured has a node to itself."""

from typing import Final

from migd_lab.guest import Guest

DUTY_RATIO: Final = 0.3
SENT_BYTES_PER_S: Final = 200_000
# A datagram of 1,000 bytes is 1,042 on the wire: UDP, IP and Ethernet headers.
SENT_WITH_HEADERS: Final = 1.042
WRITTEN_PAGES_PER_S: Final = 3000
WORKING_SET_MIB: Final = 12
WORKING_SET_PAGES_PER_S: Final = 4096

SPINNER: Final = Guest("spinner", 1, (f"spin {DUTY_RATIO}",))
SENDER: Final = Guest("sender", 2, (f"send 192.168.77.254 {SENT_BYTES_PER_S}",))
WRITER: Final = Guest("writer", 3, (f"write 32 {WRITTEN_PAGES_PER_S}",), memory_mib=144)
SET: Final = Guest("set", 4, (f"write {WORKING_SET_MIB} {WORKING_SET_PAGES_PER_S}",))
# Busy enough to be worth moving, and it knows stale pages.
MOVER: Final = Guest("mover", 9, (f"spin {DUTY_RATIO}", "write 8 200"))
RANK0: Final = Guest("rank0", 5, memory_mib=160, image="mpi")
RANK1: Final = Guest("rank1", 6, memory_mib=160, image="mpi")
# Alone in a lab: 32 MiB are written through in 2 s, which is how soon a stale page is met.
TRAVELLER_PAGES_PER_S: Final = 4000
TRAVELLER: Final = Guest("traveller", 7, (f"write 32 {TRAVELLER_PAGES_PER_S}",), memory_mib=144)
# 64 MiB/s, in a region that it comes back to within a second.
BUSY_PAGES_PER_S: Final = 16384
BUSY: Final = Guest("busy", 8, (f"write 48 {BUSY_PAGES_PER_S}",), memory_mib=176)
