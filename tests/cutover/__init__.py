"""Two repositories that are compared, played with at random."""
