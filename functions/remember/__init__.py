"""What production is before a run changes it, kept so that a failed or stopped run can be taken back."""
