"""CloudWatch Logs: log streams of processes, and metrics in log events."""
