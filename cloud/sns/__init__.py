"""SNS: topics as templates define them."""
