"""Use cases, one a module, and the ports that they need."""
