"""Application Auto Scaling for endpoint variants and provisioned concurrency."""
