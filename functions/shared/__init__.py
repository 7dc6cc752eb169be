"""Code that several functions share: documents, settings, errors, observability."""
