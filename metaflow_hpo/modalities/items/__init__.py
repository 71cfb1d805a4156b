"""What tasks share whose inputs are items with a class each: images, recordings, texts, series."""
