"""What a run takes on machines that are not there: its programs compiled, their memory and time, and what to change."""
