"""Where samples come from: this machine, metric pages, probes."""
