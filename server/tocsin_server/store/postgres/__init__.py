"""The engine of a fleet. The only importer of psycopg, and imported only where there is a URL to open."""
