"""The proof: every right in the template is needed by something that ran, or AWS's documents say why it stands."""
