"""From searched segments to an answer: votes, decision, agreement over time."""
