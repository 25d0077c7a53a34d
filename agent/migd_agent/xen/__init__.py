"""What Xen tells a Dom0: its own libraries by accessor functions, so that no struct layout is assumed."""
