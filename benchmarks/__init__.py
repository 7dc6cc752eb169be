"""Measurements of Kennel: ``python -m benchmarks NAME`` prints one JSON object."""
