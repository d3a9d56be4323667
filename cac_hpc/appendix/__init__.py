"""What a report adds for those who write a paper of it: reporting checklists, filled, and the methods as text."""
