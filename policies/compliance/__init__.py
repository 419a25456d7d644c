"""What a site wants against what is: its facts, its objectives, and the findings about it."""
