"""The gate: promote or refuse the challenger."""
