"""An independent account of what a repository's events come to, in plain Python, for the tests of the guarantee."""
