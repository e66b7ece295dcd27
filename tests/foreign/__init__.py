"""Another producer's archive and the Inventories that it writes of itself: code that owes nothing to the program's."""
