"""What is said on a terminal: commands that end in a sentence, streams that last, signs of life, and words."""
