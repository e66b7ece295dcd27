"""What is logged, and how a line looks."""

from __future__ import annotations

import logging
import sys


def log_to_stderr(level: str, who: str = "") -> None:
    """Log to stderr from ``level`` on; each line names ``who`` logs, if several processes share it."""
    logging.basicConfig(
        stream=sys.stderr,
        level=level,
        format=f"%(asctime)s %(levelname)s {who + ' ' if who else ''}%(name)s: %(message)s",
    )
    # The client reports every reconnection; what matters of it reaches our own log.
    logging.getLogger("kafka").setLevel(logging.INFO if level == "DEBUG" else logging.CRITICAL)
    # These tell of every request; what goes wrong with a sink is told by the delivery to it.
    for name in ("pynetdicom", "httpx", "httpcore", "botocore", "aiobotocore", "s3fs", "fsspec"):
        logging.getLogger(name).setLevel(logging.INFO if level == "DEBUG" else logging.CRITICAL)
    # What pydicom finds wrong with a value it logs with the value, which may be a patient's.
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
