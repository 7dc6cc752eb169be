"""What shows that Kennel keeps its promises: drills under load, the proof of rights, and the smoke test on AWS."""
