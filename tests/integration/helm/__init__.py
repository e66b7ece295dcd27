"""The chart as helm renders it: what the program accepts, what a cluster would run, what is refused."""
