"""`migctl measure links`: messages to and fro between two guests or hosts, as NetPIPE does."""
