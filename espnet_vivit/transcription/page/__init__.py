"""The local web page: uploads, example clips, and what it shows."""
