"""The rows of the capstone: each collects evidence of one thing, judges it, and tells it to people."""
