"""The HTTP service: health, metrics, a versioned JSON API and a page, guarded by bearer tokens."""
