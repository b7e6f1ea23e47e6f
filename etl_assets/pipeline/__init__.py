"""The pipeline: one partition from source to commit, and many partitions at once, with their outcomes collected."""
