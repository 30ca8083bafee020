"""The checks of `.ci/interop.py`, by server and client."""
