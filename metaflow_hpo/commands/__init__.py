"""Edge: the commands of the command line, a module for what people do together, and what they print."""
