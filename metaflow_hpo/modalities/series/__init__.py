"""Series: measurements over time, one or several channels, each series with a class."""
