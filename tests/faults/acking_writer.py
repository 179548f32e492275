"""A program that commits rows to an SQLite file and says so, one number a line, then waits to be killed.

    python acking_writer.py DATABASE SYNCHRONOUS ROWS

The table is made with synchronous=FULL: it is there after a power cut, whatever becomes of the rows. A row fills a
page, so that the log is written back to the database every few hundred rows.
"""

import signal
import sqlite3
import sys

database, synchronous, rows = sys.argv[1:]
connection = sqlite3.connect(database, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
connection.execute("CREATE TABLE acked (number INTEGER PRIMARY KEY, filling TEXT)")
connection.execute(f"PRAGMA synchronous = {synchronous}")
for number in range(1, int(rows) + 1):
    connection.execute("INSERT INTO acked VALUES (?, ?)", (number, "x" * 4000))
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
signal.pause()
