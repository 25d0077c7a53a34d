"""What a host has measured: round-robin databases as xcp-rrdd keeps them, in steps of five seconds."""
