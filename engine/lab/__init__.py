"""The demo cluster: real local processes, real faults, and the means to end both."""
