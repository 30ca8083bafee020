"""The checks that `.ci/interop.py` runs, by server and client."""
