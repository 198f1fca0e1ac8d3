"""What the past teaches: what comes back, what works, what will run out. Pure functions of what the record holds."""
