"""The image, built and run without an engine: ``python -m tests.image``."""
