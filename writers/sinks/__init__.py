"""Where published inventories go beside their folder: one module for each kind of receiver."""
