"""Adapters of providers: what takes deliveries on channels other than the inbox, a module a kind."""
