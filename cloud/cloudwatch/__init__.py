"""CloudWatch: metrics, and the evaluation of alarms."""
