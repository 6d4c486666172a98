"""The general tools without knowledge of speech: files written whole, YAML, option types, processes, progress bars."""
