"""What needs no key: the page, and whether a model serves."""
