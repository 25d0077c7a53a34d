"""`migctl demo`: an emulated pool, four agents and a controller as real processes, and a job that migd helps."""
