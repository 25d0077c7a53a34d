"""A Xen cluster in virtual time, and the runs that drive the controller with it."""
