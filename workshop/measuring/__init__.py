"""Below load.py and compare.py: the driver, its results, intervals, limits, this machine."""
