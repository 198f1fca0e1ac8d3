"""One file for each step; none is changed once a version with it was released."""
