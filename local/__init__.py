"""The runner: one command from photos to an endpoint on a laptop cloud."""
