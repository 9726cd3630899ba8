"""The node in compositing programs: one folder for each host."""
