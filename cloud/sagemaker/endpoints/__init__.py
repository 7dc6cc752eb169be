"""SageMaker's endpoints: their operations, instances, router, updates and metrics."""
