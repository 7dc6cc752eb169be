"""Code that all rooms share: calls of MiniStack, the JSON protocol, URIs, processes, the clock."""
