"""The only place where things are wired: `serving` a server, upon its `ground`, from its `parts`, `answering` calls;
`process` from its start to its end, `fleet` several of them on one port and `member` one of these, `local` what opens
its database without one.

Each is imported by itself: the supervisor of a fleet needs nothing of what serves.
"""
