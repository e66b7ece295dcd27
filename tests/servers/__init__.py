"""The real servers that the tests run against, found or started by the run itself."""

import warnings

with warnings.catch_warnings():
    # kafka-python 3.0 reads its schemas through functions that Python 3.11 deprecates.
    warnings.filterwarnings("ignore", r"(open|read)_text is deprecated", DeprecationWarning)
    import kafka  # noqa: F401
