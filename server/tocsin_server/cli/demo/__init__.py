"""`tocsin demo`: what Tocsin does, shown with a real server on this machine, and checked while it is shown."""
