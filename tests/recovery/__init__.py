"""Servers and folders lost, and made good as docs/runbook/ says: the trials of its pages."""
