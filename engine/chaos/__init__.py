"""Drills: real faults in the lab, each with an undo and a score; the engine cannot read what is injected."""
