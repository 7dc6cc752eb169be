"""SageMaker's jobs: training and processing."""
