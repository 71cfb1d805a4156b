"""What learners of images, recordings, texts and series share: one space, one loop, one way to keep a network."""
