"""`migctl`: the operator's hand on the controller."""
