"""A lab of real Xen hosts under QEMU, for trying and testing migd where there is neither hardware nor KVM."""
