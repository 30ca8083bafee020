"""The parts of `.ci/conformance.py`."""
