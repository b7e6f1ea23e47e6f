"""Random histories of loads, against models of what the tables ought to hold, one for each write disposition."""
