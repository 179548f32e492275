"""Rendering: Liquid that cannot do harm, locales, bodies for channels."""
