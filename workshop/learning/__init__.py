"""What a learner works with: copies of the steps, hints' questions, progress, a timetable."""
