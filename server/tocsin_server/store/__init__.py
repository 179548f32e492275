"""Tables, migrations, set-based reads and writes, and the group-commit writer. The only importer of peewee."""
