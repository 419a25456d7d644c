"""What a deleted guest had around it, put back through the API as far as the token may."""
