"""The champion's scaling policies, kept so that a failed run can restore them."""
