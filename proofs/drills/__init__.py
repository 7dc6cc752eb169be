"""Drills: each shows promises about the endpoint under real load, on a separate laptop cloud."""
