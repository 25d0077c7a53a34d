"""`migctl` answers soon, held against bare Python in the same run."""

from benchmarks.cli import measure


def test_help_and_status_answer_within_their_share_of_what_bare_python_takes():
    figures = measure()
    assert figures["help_ratio"] <= figures["help_goal_ratio"], figures
    assert figures["status_ratio"] <= figures["status_goal_ratio"], figures
