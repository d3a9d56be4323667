"""A finished run as a file that can be handed over, and what it says of new studies."""
