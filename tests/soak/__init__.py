"""The soak: the program under random faults of its servers and of itself, held to the plain oracle (docs/soak.md)."""
