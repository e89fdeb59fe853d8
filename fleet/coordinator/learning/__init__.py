"""Learning jobs and their rounds; cohort shards."""
