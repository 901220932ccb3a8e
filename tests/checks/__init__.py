"""What `tests/test_architecture.py` checks: each check takes the code and returns its faults, one sentence each."""
