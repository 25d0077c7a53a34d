"""Records made again: the same decisions, or another policy's on the same data."""
