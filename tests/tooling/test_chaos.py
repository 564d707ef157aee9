"""Orders exactly once under chaos (chaos.py): short here; CHAOS_SECONDS=60 for a minute."""

import os

import chaos

SECONDS = float(os.environ.get("CHAOS_SECONDS", "4"))


def test_each_key_is_one_order_whatever_breaks(tmp_path):
    found = chaos.run(tmp_path, SECONDS, connections=30)
    print(found.faults, found.answers)
    assert found.problems() == []
    assert len(found.faults) == 4
    assert found.answers[201] and found.answers.total() > found.answers[201] + found.answers[409]
