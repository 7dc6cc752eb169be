"""Lambda: what a function does not do while it is created or updated."""
