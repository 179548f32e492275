"""`tocsin seed`: an example tenant, large enough to try everything on. Its people and addresses are nobody's."""
