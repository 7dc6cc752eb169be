"""Service Quotas: what the laptop's account may have, in the shapes and with the codes of AWS."""
