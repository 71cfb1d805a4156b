"""Tables: rows and columns, read, split, prepared and described."""
