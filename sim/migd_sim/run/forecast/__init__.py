"""A weather forecast of two days, on a cluster that others use and that does not stay whole."""
