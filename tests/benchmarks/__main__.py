"""``python -m tests.benchmarks``: see :mod:`tests.benchmarks.run`."""

if __name__ == "__main__":
    # Not above: processes that are started import this module too, and would begin later for all that it imports.
    from tests.benchmarks.run import main, words

    main(words())
