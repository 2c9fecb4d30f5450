"""What lets a run be killed at any moment and end with the weights it would have had."""
