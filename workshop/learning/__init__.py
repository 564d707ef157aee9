"""What a learner works with: copies of the steps, hints, progress, a Redis prompt."""
