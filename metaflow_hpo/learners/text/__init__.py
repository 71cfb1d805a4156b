"""The learner `text`: networks that tell texts apart."""
