"""The embedded time-series store, and the evaluator over it."""
