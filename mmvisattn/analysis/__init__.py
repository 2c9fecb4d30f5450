"""What networks cost, and how that compares with what their papers report."""
