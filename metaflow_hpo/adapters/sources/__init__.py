"""Where tasks come from: built-in tables, files of a person, OpenML."""
