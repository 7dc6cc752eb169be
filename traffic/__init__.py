"""Open-loop load, and the picture of what came of it; drills and benchmarks share both."""
