"""Mendbook: decides when a remedy is safe, proves that it worked, remembers."""
