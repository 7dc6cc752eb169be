"""SageMaker's training and processing jobs."""
