"""Debian Dom0s that know only `xl`, reached by ssh, behind the pool's seam."""
