"""SageMaker: jobs, the model registry and endpoints."""
