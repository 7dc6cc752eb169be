"""Measurements of Kennel. ``python -m benchmarks NAME`` measures one thing and prints one JSON object."""
