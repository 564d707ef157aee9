"""`make bench`: the journey over all steps, each technique compared, charts and tables."""
