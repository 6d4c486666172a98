"""What has nothing to do with speech: files written whole, YAML, option types, worker processes, progress bars."""
