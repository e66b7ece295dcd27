"""`stocktake doctor`: what Stocktake needs is looked at, area by area, and what is wrong is told with what to do."""
