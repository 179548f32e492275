"""Between replicas: hints of what was committed, presence, token buckets, cached counts. The only importer of redis."""
