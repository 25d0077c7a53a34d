"""Reads every domain's counters through libxenstat: opaque handles and accessor functions.

It knows no uuids, so those come from XenStore, once for each domain, and what guests write there of their jobs.
"""

import ctypes
from typing import Any, Final

from migd_agent.xen import library
from migd_agent.xen.guest_progress import GuestProgress
from migd_agent.xen.reading import DOM0, SECTOR_BYTES, Domain, XenReading, XenUnreadable
from migd_agent.xen.xenstore import XenStore
from migd_core.progress import Progress

# XENSTAT_NETWORK | XENSTAT_VBD of xenstat.h; a domain's CPU time and memory come always.
_COLLECT: Final = 2 | 8

_COUNT, _LONG, _TEXT, _HANDLE = ctypes.c_uint, ctypes.c_ulonglong, ctypes.c_char_p, ctypes.c_void_p
FUNCTIONS: Final[dict[str, tuple[object, ...]]] = {
    "xenstat_init": (_HANDLE,),
    "xenstat_uninit": (None, _HANDLE),
    "xenstat_get_node": (_HANDLE, _HANDLE, _COUNT),
    "xenstat_free_node": (None, _HANDLE),
    "xenstat_node_tot_mem": (_LONG, _HANDLE),
    "xenstat_node_free_mem": (_LONG, _HANDLE),
    "xenstat_node_num_cpus": (_COUNT, _HANDLE),
    "xenstat_node_num_domains": (_COUNT, _HANDLE),
    "xenstat_node_domain_by_index": (_HANDLE, _HANDLE, _COUNT),
    "xenstat_domain_id": (_COUNT, _HANDLE),
    "xenstat_domain_name": (_TEXT, _HANDLE),
    "xenstat_domain_cpu_ns": (_LONG, _HANDLE),
    "xenstat_domain_num_vcpus": (_COUNT, _HANDLE),
    "xenstat_domain_cur_mem": (_LONG, _HANDLE),
    "xenstat_domain_paused": (_COUNT, _HANDLE),
    "xenstat_domain_dying": (_COUNT, _HANDLE),
    "xenstat_domain_shutdown": (_COUNT, _HANDLE),
    "xenstat_domain_num_networks": (_COUNT, _HANDLE),
    "xenstat_domain_network": (_HANDLE, _HANDLE, _COUNT),
    "xenstat_network_rbytes": (_LONG, _HANDLE),
    "xenstat_network_tbytes": (_LONG, _HANDLE),
    "xenstat_domain_num_vbds": (_COUNT, _HANDLE),
    "xenstat_domain_vbd": (_HANDLE, _HANDLE, _COUNT),
    "xenstat_vbd_rd_sects": (_LONG, _HANDLE),
    "xenstat_vbd_wr_sects": (_LONG, _HANDLE),
}


class LibXenStat:
    """Asks Xen through libxenstat."""

    def __init__(self) -> None:
        """Raises NoLibrary where it is not installed, XenUnreadable where it does not get an answer."""
        sonames = [f"libxenstat.so.{version}" for version in (library.xen_version(), "0") if version]
        self._library = library.load("libxenstat", *sonames)
        for name, (returns, *takes) in FUNCTIONS.items():
            library.declare(self._library, name, returns, *takes)
        self._uuids = {DOM0: ""}
        self._store = XenStore()
        self._progress = GuestProgress(self._store.read)
        self._handle = self._library.xenstat_init()
        if not self._handle:
            self._store.close()
            raise XenUnreadable(
                f"{self._library._name} cannot ask Xen: {library.errno_text()}; is this root in a Dom0?"
            )

    def read(self) -> XenReading:
        """Return what Xen counts now. Raises XenUnreadable."""
        node = self._library.xenstat_get_node(self._handle, _COLLECT)
        if not node:
            raise XenUnreadable(
                f"{self._library._name} got no answer from Xen {library.xen_version()}: {library.errno_text()}; "
                "is the library of that version installed?"
            )
        try:
            return self._parse(node)
        finally:
            self._library.xenstat_free_node(node)

    def close(self) -> None:
        """Let go of Xen and XenStore."""
        self._library.xenstat_uninit(self._handle)
        self._store.close()

    def _parse(self, node: Any) -> XenReading:
        of = self._library
        every = (of.xenstat_node_domain_by_index(node, n) for n in range(of.xenstat_node_num_domains(node)))
        handles = {of.xenstat_domain_id(handle): handle for handle in every if handle}
        told = self._progress.of(domid for domid in handles if domid != DOM0)
        domains = tuple(self._domain(domid, handle, told.get(domid)) for domid, handle in handles.items())
        self._uuids = {DOM0: "", **{each.domid: each.uuid for each in domains if each.uuid}}
        return XenReading(
            cpus=of.xenstat_node_num_cpus(node),
            memory_bytes=of.xenstat_node_tot_mem(node),
            memory_free_bytes=of.xenstat_node_free_mem(node),
            domains=domains,
        )

    def _domain(self, domid: int, handle: Any, progress: Progress | None) -> Domain:
        of = self._library
        networks = [of.xenstat_domain_network(handle, n) for n in range(of.xenstat_domain_num_networks(handle))]
        disks = [of.xenstat_domain_vbd(handle, n) for n in range(of.xenstat_domain_num_vbds(handle))]
        return Domain(
            domid=domid,
            name=(of.xenstat_domain_name(handle) or b"").decode(errors="backslashreplace"),
            uuid=self._uuids[domid] if domid in self._uuids else self._store.uuid_of(domid),
            vcpus=of.xenstat_domain_num_vcpus(handle),
            cpu_s=of.xenstat_domain_cpu_ns(handle) / 1e9,
            memory_bytes=of.xenstat_domain_cur_mem(handle),
            # Counted at Dom0's end of the wire: what a vif receives, its guest has sent (seen on Xen 4.17).
            rx_bytes=sum(of.xenstat_network_tbytes(each) for each in networks),
            tx_bytes=sum(of.xenstat_network_rbytes(each) for each in networks),
            read_bytes=SECTOR_BYTES * sum(of.xenstat_vbd_rd_sects(each) for each in disks),
            written_bytes=SECTOR_BYTES * sum(of.xenstat_vbd_wr_sects(each) for each in disks),
            is_paused=bool(of.xenstat_domain_paused(handle)),
            is_ending=bool(of.xenstat_domain_dying(handle) or of.xenstat_domain_shutdown(handle)),
            progress=progress,
        )
