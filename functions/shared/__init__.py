"""What the functions have in common: documents, settings, errors, observability."""
