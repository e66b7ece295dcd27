"""The pages tried as a new user would: ``python -m tests.docs [WALK ...]``; pages.py says which, and why no more."""
