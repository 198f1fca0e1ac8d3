"""What is remembered: incidents, decisions, executions, their events, and the chain of entries that no one can rewrite unseen."""
