"""Archives as they can be asked: one module for each way."""
