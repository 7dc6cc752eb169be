"""S3: buckets as templates define them, and transfers of objects for jobs and endpoints."""
