"""API Gateway: REST APIs as their templates define them."""
