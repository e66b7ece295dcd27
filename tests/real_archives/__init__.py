"""A real archive, followed by the program's own processes, which are killed on the way: what is inventoried."""
