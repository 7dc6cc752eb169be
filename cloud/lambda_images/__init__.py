"""Functions from container images: Lambda's API for them, and what runs them."""
