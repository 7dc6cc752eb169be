"""Drills: promises about the endpoint, shown on a laptop cloud of their own under real load."""
