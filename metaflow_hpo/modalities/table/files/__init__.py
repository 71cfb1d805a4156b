"""Files that hold tables: what they are called, unpacking them, and a reader a format."""
