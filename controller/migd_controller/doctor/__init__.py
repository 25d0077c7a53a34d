"""`migctl doctor`: what the controller can tell of agents, pool and guests that keeps migd from doing its work.

`agents`, `pool` and `guests` judge; they do no I/O. `examination` asks the pool what only it knows.
"""
