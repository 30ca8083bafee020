"""The parts of `.ci/soak.py`."""
