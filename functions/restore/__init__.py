"""Take back what a stopped run changed in production."""
