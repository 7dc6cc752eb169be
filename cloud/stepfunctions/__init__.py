"""Step Functions: definitions, executions, and what tasks call."""
