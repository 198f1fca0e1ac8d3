"""What people read of a period: one report, told in a terminal, as Markdown and as a page of its own."""
