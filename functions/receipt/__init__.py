"""The receipt of a run: what was metered, what it costs, and what goes on costing."""
