"""What a run takes on machines that are not there."""
