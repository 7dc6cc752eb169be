"""The meter: it adds up every five minutes what the stack spends, and holds it to its limit."""
