"""Which board this is."""
