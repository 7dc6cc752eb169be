"""The plan: every decision of one run, made before anything starts."""
