"""NIR files: read as untrusted input, checked field by field, and written."""
