"""The controller's own core for hours of virtual time with everything going wrong, and somebody who checks."""
