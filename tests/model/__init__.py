"""A random model of a whole deployment: consumers and writers that die, stall, race and lose what their server had.

Everything is the program's own but Kafka, whose part the model plays, so that it decides who reads what and when.
``machine`` holds the rules of Hypothesis, ``world`` what they do, ``tests/oracle`` what must come of it.
"""
