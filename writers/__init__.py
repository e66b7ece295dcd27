"""Inventories out: slice -> Inventory SOP Instances -> files; and reading them back (pydicom is the authority)."""
