"""The smoke test: golden photos with known answers."""
