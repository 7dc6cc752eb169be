"""How much of a core a function of Lambda has."""

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
CORE_MEGABYTES = 1769  # of memory, with which a function has one core


def core_share(megabytes: float) -> float:
    """Return the share of a core that comes with so much memory; 1 for all that has a core or more."""
    return min(1.0, megabytes / CORE_MEGABYTES)
