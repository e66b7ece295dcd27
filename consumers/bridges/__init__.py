"""Bridges: what archives that do not speak Kafka tell, written to a topic."""
