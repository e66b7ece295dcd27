"""What runs inside an archive, not inside Stocktake: files that stand alone."""
