"""The rendered chart run on this machine: its pods as processes, and a small stand-in for what Kubernetes does to them.

``python -m tests.cluster`` runs it by hand; docs/soak.md tells what it does and what it came to.
"""
