"""The measurement: the capacity of one instance, and how production scales."""
