"""Events in: formats -> events -> applied to the state (kafka-python, orjson)."""
