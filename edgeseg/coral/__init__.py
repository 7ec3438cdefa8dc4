"""Google Coral: what the Edge TPU takes, its compiler, and its library."""
