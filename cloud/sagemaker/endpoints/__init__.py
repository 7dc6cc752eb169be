"""SageMaker's endpoints: their operations, fleets, router and metrics."""
