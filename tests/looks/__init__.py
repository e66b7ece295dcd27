"""Looks at an archive, played with at random: what it has, what it tells, a deployment that has to agree with it."""
