"""A small XAPI server: an emulated Xen pool that the official SDK logs into, watches and migrates with."""
