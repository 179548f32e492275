"""Loops that act without being asked."""
