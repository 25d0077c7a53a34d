"""What to move: one policy a file, and the prediction and scoring they share. Pure functions of a `World`."""
