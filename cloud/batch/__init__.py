"""AWS Batch on EC2: compute environments, queues, job definitions, and jobs that really run."""
