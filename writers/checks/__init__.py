"""The rules that ``verify`` holds an Inventory to, a module for each kind."""
