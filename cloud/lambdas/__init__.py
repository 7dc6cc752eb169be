"""Lambda: functions act with their role, and fail as on AWS."""
