"""The dashboard of a deployed stack, rendered from the very document that CloudWatch has, with live figures."""
