"""What networks cost beside what papers report; where runs succeed and fail."""
