"""The simulated cluster: hosts, links, guests, MPI-like jobs, live migration. Deterministic; knows no clock."""
